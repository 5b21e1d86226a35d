"""Arrays that stay in the file that holds them: what they are and where their bytes lie, to be read one at a time by any process."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple

import numpy as np

NUMBERS = ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")
"""Kinds of array that are read, in numpy's spelling: truth values, whole numbers, floating point of up to 64 bits."""

_DECODED: dict[str, Callable[[bytes], bytes]] = {
    "raw": lambda data: data,
    "utf-8": lambda data: data.decode("utf-8").encode("latin-1"),
    "escaped": lambda data: data.decode("raw-unicode-escape").encode("latin-1"),
}
"""How bytes stand in a file: as they are, or (pickle protocols 0 to 2) as text in which each byte is a character."""


class StoredBytes(NamedTuple):
    """`length` bytes from `skip` on of what `size` bytes of a file from `start` on stand for; `form` is one of raw, utf-8, escaped."""

    start: int
    size: int
    form: str
    skip: int
    length: int

    def part(self, start: int, length: int) -> StoredBytes:
        """`length` of these bytes, from `start` on."""
        if self.form == "raw":
            return StoredBytes(self.start + start, length, "raw", 0, length)
        return self._replace(skip=self.skip + start, length=length)

    def read(self, file: BinaryIO) -> bytes:
        """The bytes. Raises ValueError where the file is shorter than it was."""
        data = os.pread(file.fileno(), self.size, self.start)
        if len(data) != self.size:
            raise ValueError(f"{file.name}: ends before byte {self.start + self.size}; it has changed since it was listed, pack it again")
        return _DECODED[self.form](data)[self.skip : self.skip + self.length]


@dataclass(slots=True)
class StoredArray:
    """An array in a file: `dtype` in numpy's spelling with byte order ("<f4"), `strides` in numbers, and its bytes.

    `data` is None while a pickle has named an array and not yet filled it.
    """

    dtype: str = ""
    shape: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    data: StoredBytes | None = None

    def fill(self, dtype: str, shape: Sequence[int], order: str, data: StoredBytes) -> StoredArray:
        """This array, of numbers that lie in order C (last axis together) or F (first axis together). Raises ValueError where sizes do not fit."""
        width, count = np.dtype(dtype).itemsize, math.prod(shape)
        if count * width != data.length:
            raise ValueError(f"an array of shape {tuple(shape)} and dtype {dtype} has {count * width} bytes, the file gives it {data.length}")
        along = list(shape) if order == "F" else list(reversed(shape))
        strides = [math.prod(along[:axis]) for axis in range(len(along))]
        self.dtype, self.shape, self.data = dtype, tuple(shape), data
        self.strides = tuple(strides if order == "F" else reversed(strides))
        return self

    def view(self, dtype: str, shape: Sequence[int], strides: Sequence[int], offset: int, storage: StoredBytes) -> StoredArray:
        """This array, of every `strides`-th number of `storage` from its `offset`-th on. Raises ValueError where it would leave the storage."""
        width, count = np.dtype(dtype).itemsize, math.prod(shape)
        reach = 1 + sum((length - 1) * stride for length, stride in zip(shape, strides)) if count else 0
        held = storage.length // width
        if len(shape) != len(strides) or offset + reach > held:
            raise ValueError(f"a tensor of shape {tuple(shape)}, strides {tuple(strides)} and offset {offset} does not lie within its {held} numbers")
        if count > reach:
            raise ValueError(f"a tensor of shape {tuple(shape)} repeats its {reach} stored numbers; save a copy of it (tensor.clone())")
        self.dtype, self.shape, self.strides, self.data = dtype, tuple(shape), tuple(strides), storage.part(offset * width, reach * width)
        return self

    def read(self, file: BinaryIO) -> np.ndarray:
        """The array; its memory may not be written to. Raises ValueError where the pickle never filled it, or the file has changed."""
        if self.data is None:
            raise ValueError("an array that was never filled")
        width = np.dtype(self.dtype).itemsize
        return np.ndarray(self.shape, self.dtype, self.data.read(file), 0, tuple(stride * width for stride in self.strides))

    def as_json(self) -> list[Any]:
        """What `from_json` makes this array of again."""
        return [self.dtype, list(self.shape), list(self.strides), list(self.data or ())]

    @classmethod
    def from_json(cls, values: list[Any]) -> StoredArray:
        """The array that `as_json` described."""
        dtype, shape, strides, data = values
        return cls(dtype, tuple(shape), tuple(strides), StoredBytes(*data) if data else None)
