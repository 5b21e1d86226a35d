"""The items that a run could not read: the same list on all ranks, and in the run's folder.

    RUN/bad_items.jsonl     {"id", "domain", "shard", "shard_number", "reason", "step"} a line: every item once, with the first step that lacked it

Which items these are follows from the shards alone, so a run that goes on from a checkpoint finds the same ones again and its list ends as that of an
undisturbed run. A step without any of them costs no exchange between ranks: that there are some travels with the loss.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path

import torch.distributed as dist

from launch import distributed
from launch.files import whole_file
from launch.logs import is_main, say
from pipeline.bad_items import BadItems
from pipeline.shards import ShardSet
from pipeline.stream import Unread

FILE = "bad_items.jsonl"


class UnreadItems:
    """All ranks make it together and call `share` together.

    Args:
        out: the run's folder.
        shards: what is trained on.
        step: where the run stands; what was listed for later steps, which will be taken again, is removed first.
    """

    def __init__(self, policy: BadItems, out: Path, shards: ShardSet, step: int) -> None:
        self._policy, self._path, self._shards = policy, out / FILE, shards
        self._pending: list[Unread] = []
        listed = _until(self._path, step) if is_main() else None
        self._known: set[tuple[int, str]] = set(distributed.broadcast_object(listed))  # type: ignore[call-overload]

    def __len__(self) -> int:
        return len(self._known)

    def add(self, unread: Sequence[Unread]) -> None:
        """Items that this rank's next batch lacks."""
        self._pending.extend(unread)

    @property
    def pending(self) -> int:
        """How many were added since the ranks last shared what they found."""
        return len(self._pending)

    def share(self, step: int) -> int:
        """Bring together what all ranks found for `step`, list what is new, and return how many that is.

        Raises ValueError, on all ranks alike, where the policy allows no more of them.
        """
        everyone: list[list[Unread]] = [self._pending]
        if distributed.world_size() > 1:
            everyone = [[] for _ in range(distributed.world_size())]
            dist.all_gather_object(everyone, self._pending)
        self._pending = []
        new = {(one.shard_number, one.id): one for one in chain.from_iterable(everyone) if (one.shard_number, one.id) not in self._known}
        if not new:
            return 0
        self._known |= new.keys()
        if is_main():
            with open(self._path, "a", encoding="utf-8") as file:
                file.writelines(json.dumps(asdict(one) | {"step": step}, ensure_ascii=False) + "\n" for one in new.values())
        example = next(iter(new.values())).reason
        self._policy.check(len(self), len(self._shards), where=f"{self._shards.folder}, step {step}", listed=str(self._path), example=example)
        say(f"step {step}: {len(new):,} items could not be read and are left out, {len(self):,} so far, see {self._path}; one of them: {example}")
        return len(new)


def _until(path: Path, step: int) -> list[tuple[int, str]]:
    """(shard number, id) of what is listed for steps up to `step`; the rest of the file is removed, and a last line that was cut off."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [(line, record) for line in lines if line.endswith("\n") and (record := json.loads(line))["step"] <= step]
    with whole_file(path) as file:
        file.writelines(line for line, _ in kept)
    return [(record["shard_number"], record["id"]) for _, record in kept]
