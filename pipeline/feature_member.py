"""One named feature of a packed sample."""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np

from pipeline.shards import Sample, ShardSet

_START = 10
"""Bytes of a .npy file of version 1 before its header: a magic number, the version, the header's length."""


def read_feature(sample: Sample, name: str) -> np.ndarray | None:
    """The sample's member `name`.npy, float32 [C], or [N, C] where frames or words are kept apart; None where it has none.

    Raises:
        ValueError: the member is no array of one or two axes, or is empty.
    """
    member = f"{name}.npy"
    if member not in sample.members:
        return None
    try:
        array = _array(sample.bytes(member))
    except (ValueError, EOFError) as error:
        raise ValueError(f"{sample.name}: {member} is no array: {error}") from error
    if array.ndim not in (1, 2) or not array.size:
        raise ValueError(f"{sample.name}: {member} has the shape {list(array.shape)}; wanted [C], or [N, C] where frames or words are kept apart")
    return array.astype(np.float32)


def feature_width(shards: ShardSet, domain: str, name: str) -> int:
    """C of the feature `name`, as the first item of the domain has it that has it at all; 0 where none has."""
    for number in shards.of_domain(domain):
        shard = shards.shard(number)
        for row in range(len(shard)):
            found = read_feature(shard.sample(row), name)
            if found is not None:
                return found.shape[-1]
    return 0


def _array(data: bytes) -> np.ndarray:
    """What np.load makes of `data`. Features of a split have one and the same header, whose text takes longer to read than the numbers behind it."""
    end = _START + int.from_bytes(data[8:_START], "little")
    if data[:8] != b"\x93NUMPY\x01\x00" or end > len(data):
        return np.load(io.BytesIO(data), allow_pickle=False)
    shape, fortran, dtype = _header(data[:end])
    if fortran or dtype.hasobject:
        return np.load(io.BytesIO(data), allow_pickle=False)
    return np.frombuffer(data, dtype, offset=end).reshape(shape)


@lru_cache(64)
def _header(data: bytes) -> tuple[tuple[int, ...], bool, np.dtype]:
    file = io.BytesIO(data)
    np.lib.format.read_magic(file)
    return np.lib.format.read_array_header_1_0(file)
