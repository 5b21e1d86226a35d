"""The numbers of a .npy file, from bytes that may say anything: nothing is run, and no more memory is taken than the bytes have."""

from __future__ import annotations

import io
import math
import tokenize
from functools import lru_cache

import numpy as np

_MAGIC = 8
_START = {b"\x93NUMPY\x01\x00": 10, b"\x93NUMPY\x02\x00": 12}
"""Magic number and version of a file -> where its header begins, behind the header's length."""


def read_numbers(data: bytes) -> np.ndarray:
    """The array in `data`, which it shares memory with.

    Raises:
        ValueError: no .npy file of truth values, whole numbers or floating point; fewer bytes, or more, than its header says; numbers that are
            not finite.
    """
    start = _START.get(data[:_MAGIC])
    if start is None:
        kind = "an archive of several" if data[:2] == b"PK" else f"{len(data)} bytes, starting {data[:_MAGIC]!r}"
        raise ValueError(f"not a .npy array but {kind}")
    end = start + int.from_bytes(data[_MAGIC:start], "little")
    shape, fortran, dtype = _header(data[:end])
    if dtype.kind not in "biuf":
        raise ValueError(f"not a .npy array of numbers, but of {dtype}")
    wanted = dtype.itemsize * math.prod(shape)
    if len(data) - end != wanted:
        raise ValueError(f"not a whole .npy array: {len(data) - end} bytes of numbers, {list(shape)} of {dtype} have {wanted}")
    array = np.frombuffer(data, dtype, offset=end).reshape(shape, order="F" if fortran else "C")
    if dtype.kind == "f" and not _finite(array.ravel(order="K")):
        broken = int((~np.isfinite(array)).sum())
        raise ValueError(f"{broken} of {array.size} numbers are not finite (NaN or infinite)")
    return array


def _finite(numbers: np.ndarray) -> bool:
    with np.errstate(over="ignore", invalid="ignore"):
        if numbers.dtype in ("f4", "f8") and math.isfinite(numbers.dot(numbers)):
            return True  # a product is four times as fast as a look at each; where it overflows, the look decides
    return bool(np.isfinite(numbers).all())


@lru_cache(64)
def _header(data: bytes) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Features of a split have one and the same header, whose text takes longer to read than the numbers behind it."""
    file = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        return (np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0)(file)
    except (ValueError, EOFError, SyntaxError, RecursionError, MemoryError, tokenize.TokenError) as error:
        raise ValueError(f"not a .npy array: its header cannot be read ({' '.join(str(error).split())[:200]})") from error
