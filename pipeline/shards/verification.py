"""Whether shards are still the ones that were packed, by their checksums: on request (--verify), since every byte is read once more.

What is cheap is looked at always: a tar's size when it is opened, an index's own checksums when it is read, each record's id against the index,
and the checksum of a shard that comes from elsewhere when it is fetched. Packing has checked every image and video. What is left is a tar that
was exchanged for one of the same ids and size, or bytes that changed inside a member that still decodes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.distributed as dist

from launch import distributed
from launch.files import checksum
from launch.logs import progress
from pipeline.shards.record import AGAIN
from pipeline.shards.shard_set import MANIFEST, ShardSet


def verify(shards: ShardSet, numbers: Sequence[int], work: str) -> None:
    """Compare the tars `numbers` of the set with its manifest. One that differs is marked on all ranks, which share the reading and call this
    together: its items can then not be read.

    Args:
        work: a name for this, another one for each time in a job.
    """
    numbers = [number for number in numbers if shards.is_here(number)]
    take = distributed.SharedCounter(f"verify/{work}")
    found: dict[int, str] = {}
    with progress(total=len(numbers) // distributed.world_size(), what=f"verify {shards.split}", unit="shard") as bar:
        while (place := take.next()) < len(numbers):
            info, tar = shards.shards[numbers[place]], shards.tar(numbers[place])
            if not tar.is_file():
                continue  # its own error says so
            if checksum(tar) != info.checksum:
                changed = "it was changed or exchanged after packing: restore it, or"
                found[numbers[place]] = f"{tar}: another checksum than in {MANIFEST}; {changed} {AGAIN}"
            bar.update()
    everyone = [found]
    if distributed.world_size() > 1:
        everyone = [{} for _ in range(distributed.world_size())]
        dist.all_gather_object(everyone, found)
    for one in everyone:
        for number, damage in one.items():
            shards.mark_damaged(number, damage)
