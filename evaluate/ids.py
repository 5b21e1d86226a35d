"""Ids as they stand in HDF5 files: UTF-8 bytes of one width (the widest id of the file), so that millions are read in one piece.

Variable-length strings take about a microsecond and a Python object each; a column of fixed width is one read.
"""

from __future__ import annotations

from collections.abc import Iterable

import h5py
import numpy as np


def encode_ids(ids: Iterable[str]) -> np.ndarray:
    """`ids` as UTF-8 bytes [n] of NumPy type `S<width>`, padded with zero bytes.

    Raises ValueError for an id that is empty, holds a zero character, or has no UTF-8 form (half a surrogate pair).
    """
    texts = list(ids)
    for row, text in enumerate(texts):
        if not text or "\0" in text:
            raise ValueError(f"id {row} of {len(texts)} is {text!r}: an id needs at least one character and no zero character")
    try:
        encoded = [text.encode() for text in texts]
    except UnicodeEncodeError as error:
        raise ValueError(f"id {error.object!r} has no UTF-8 form; repair it where the corpus is read") from error
    return np.array(encoded, dtype=bytes) if encoded else np.zeros(0, "S1")


def decode_ids(ids: np.ndarray) -> list[str]:
    """The texts of what `encode_ids` made."""
    return [text.decode() for text in ids.tolist()]


def stored(ids: np.ndarray, id_bytes: int | None = None) -> np.ndarray:
    """`ids` as h5py stores them: UTF-8 text of a fixed length of `id_bytes` (default: their own). Plain `S` would claim to be ASCII."""
    return ids.astype(h5py.string_dtype("utf-8", id_bytes or ids.dtype.itemsize))


def repeated_id(ids: np.ndarray) -> str | None:
    """An id that stands in `ids` more than once, None where there is none."""
    ordered = np.sort(ids)
    again = np.flatnonzero(ordered[1:] == ordered[:-1])
    return ordered[again[0]].decode() if len(again) else None


def id_hashes(ids: np.ndarray) -> np.ndarray:
    """uint64 [n]: a hash of each of `ids` [n], the same on every machine and at every width that ids are padded to.

        hash = mix(sum_j byte_j * mix(j)),   mix: the finaliser of splitmix64, modulo 2^64

    A byte of padding adds nothing. The outer mix is what lets hashes of a set be added up: sums of bytes alone would agree for sets whose ids
    share the same characters in the same places. Source: Steele et al. 2014 (splitmix64); ours otherwise. It keeps nobody out who wants to collide.
    """
    width = ids.dtype.itemsize
    columns = np.ascontiguousarray(ids).view(np.uint8).reshape(len(ids), width)
    sums = np.zeros(len(ids), np.uint64)
    for place, factor in enumerate(_mixed(np.arange(1, width + 1, dtype=np.uint64)).tolist()):
        sums += columns[:, place] * np.uint64(factor | 1)
    return _mixed(sums)


def _mixed(values: np.ndarray) -> np.ndarray:
    """uint64: each bit of each of `values` on every bit of its result."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ values >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ values >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return values ^ values >> np.uint64(31)


class IdTable:
    """Looks ids up among `ids` [n], which are all different: arrays and a binary search, no Python object for an id."""

    def __init__(self, ids: np.ndarray) -> None:
        self._order = np.argsort(ids, kind="stable")
        self._sorted = ids[self._order]

    def __len__(self) -> int:
        return len(self._sorted)

    def places(self, ids: np.ndarray) -> np.ndarray:
        """int64 [m]: where each of `ids` [m] stands in the table, -1 where it does not."""
        if not len(self._sorted):
            return np.full(len(ids), -1)
        found = np.minimum(np.searchsorted(self._sorted, ids), len(self._sorted) - 1)
        return np.where(self._sorted[found] == ids, self._order[found], -1)
