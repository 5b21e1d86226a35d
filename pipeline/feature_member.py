"""One named feature of a packed sample."""

from __future__ import annotations

import numpy as np

from pipeline.shards import Sample, ShardSet
from pipeline.shards.npy import read_numbers


def read_feature(sample: Sample, name: str) -> np.ndarray | None:
    """The sample's member `name`.npy, float32 [C], or [N, C] where frames or words are kept apart; None where it has none.

    Raises:
        ValueError: the member is no array of one or two axes, is empty, or has numbers that are not finite.
    """
    member = f"{name}.npy"
    if member not in sample.members:
        return None
    try:
        array = read_numbers(sample.bytes(member))
    except ValueError as error:
        raise ValueError(f"{sample.name}: {member} is no array that can be used: {error}") from error
    if array.ndim not in (1, 2) or not array.size:
        raise ValueError(f"{sample.name}: {member} has the shape {list(array.shape)}; wanted [C], or [N, C] where frames or words are kept apart")
    return array.astype(np.float32)


def feature_width(shards: ShardSet, domain: str, name: str) -> int:
    """C of the feature `name`, as the first item of the domain has it that has it at all and can be read; 0 where none has.

    Raises ValueError, that of the first item, where some have it and none can be read.
    """
    broken: ValueError | None = None
    for number in shards.of_domain(domain):
        shard = shards.shard(number)
        for row in range(len(shard)):
            try:
                found = read_feature(shard.sample(row), name)
            except ValueError as error:
                broken = broken or error  # met again, listed and counted, when it is drawn
                continue
            if found is not None:
                return found.shape[-1]
    if broken is not None:
        raise broken
    return 0
