"""What is searched with and among: vectors with ids, in a fixed order, read in blocks wherever they lie.

`evaluate/dump.py` reads our dumps, `evaluate/dumps/array.py` a `.npy` with a list of ids; `Chosen` is a part of either. A search needs no
more than this, so its memory is that of a block, whatever the corpus. Legend: N vectors, n of a block, D width.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np

from evaluate.labels import MISSING, LabelValues, Only

UNKNOWN_CHECKPOINT = "unknown"
"""Stands for the checkpoint where whoever wrote the vectors did not say."""


class Vectors(ABC):
    """N vectors of width `dim` with ids."""

    name: str
    """What a person calls them in a message: their file or folder."""
    dim: int
    """Width D."""
    checkpoint: str = UNKNOWN_CHECKPOINT
    """Checksum of the checkpoint that made them."""
    failed: int = 0
    """Items that should be here and could not be embedded."""

    @abstractmethod
    def __len__(self) -> int:
        """N."""

    @property
    @abstractmethod
    def id_bytes(self) -> int:
        """Bytes of the widest id, or a little more."""

    @abstractmethod
    def id_blocks(self) -> Iterator[np.ndarray]:
        """The ids (UTF-8 bytes, `evaluate/ids.py`), a block at a time."""

    @abstractmethod
    def blocks(self, rows_per_block: int = 65536, first: int = 0, last: int | None = None) -> Iterator[tuple[int, np.ndarray]]:
        """(number of the block's first row, float32 [n, D]) over the rows from `first` to `last` (default: all N), n at most `rows_per_block`.

        One block is held at a time if the caller lets go of it (`del`) before it asks for the next.
        Raises ValueError naming file, row and id for a vector that is not finite.
        """

    def label_keys(self) -> list[str]:
        """Names of the labels that are known here."""
        return []

    def label_blocks(self, key: str, values: LabelValues) -> Iterator[np.ndarray]:
        """int32 [n] blocks over all N: the label `key` by `values`' numbers (it takes new ones up), -1 where it is missing."""
        for ids in self.id_blocks():
            yield np.full(len(ids), MISSING, np.int32)

    def ids(self) -> np.ndarray:
        """The ids of all N, UTF-8 bytes."""
        return np.concatenate([np.zeros(0, "S1"), *self.id_blocks()])

    def ids_at(self, rows: np.ndarray) -> np.ndarray:
        """The ids of `rows` (ascending), UTF-8 bytes; one block of ids is held beside them."""
        parts, first = [np.zeros(0, "S1")], 0
        for ids in self.id_blocks():
            begin, end = np.searchsorted(rows, (first, first + len(ids)))
            parts.append(ids[rows[begin:end] - first])
            first += len(ids)
        return np.concatenate(parts)


class Chosen(Vectors):
    """The vectors of `whole` whose labels `only` allows, numbered anew from 0. Memory: a byte for each of `whole`.

    Raises ValueError where a label of the filter is not known there, or no vector has the wanted value.
    """

    def __init__(self, whole: Vectors, only: Only) -> None:
        self._whole = whole
        self.name, self.dim, self.checkpoint, self.failed = whole.name, whole.dim, whole.checkpoint, whole.failed
        known = whole.label_keys()
        self._kept = np.ones(len(whole), bool)
        for key in only.wanted:
            if key not in known:
                held = f"its labels are {', '.join(known)}" if known else "it holds no labels; embed it into another folder, or convert with --labels"
                raise ValueError(f"{whole.name}: the filter {only} needs the label {key}; {held}")
            self._kept &= _allowed(whole, key, only)
        if not self._kept.any():
            raise ValueError(f"{whole.name}: none of {len(whole)} items passes the filter {only}; {_some_values(whole, only)}")

    @property
    def kept(self) -> np.ndarray:
        """bool, one for each of the whole: which these are."""
        return self._kept

    def __len__(self) -> int:
        return int(self._kept.sum())

    @property
    def id_bytes(self) -> int:
        return self._whole.id_bytes

    def id_blocks(self) -> Iterator[np.ndarray]:
        yield from self._pass(self._whole.id_blocks())

    def blocks(self, rows_per_block: int = 65536, first: int = 0, last: int | None = None) -> Iterator[tuple[int, np.ndarray]]:
        last = len(self) if last is None else last
        if first >= last:
            return
        begin, end = (0, len(self._whole)) if last - first == len(self) else _places_of(self._kept, first, last)
        number = first
        for row, block in self._whole.blocks(rows_per_block, begin, end):
            kept = block[self._kept[row : row + len(block)]]
            del block
            if len(kept):
                number += len(kept)
                yield number - len(kept), kept
            del kept

    def label_keys(self) -> list[str]:
        return self._whole.label_keys()

    def label_blocks(self, key: str, values: LabelValues) -> Iterator[np.ndarray]:
        yield from self._pass(self._whole.label_blocks(key, values))

    def _pass(self, blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        first = 0
        for block in blocks:
            yield block[self._kept[first : first + len(block)]]
            first += len(block)


def _places_of(kept: np.ndarray, first: int, last: int) -> tuple[int, int]:
    """(begin, end) of the shortest range that holds the kept ones numbered from `first` to `last`."""
    counted = np.cumsum(kept)
    return int(np.searchsorted(counted, first + 1)), int(np.searchsorted(counted, last)) + 1


def _allowed(vectors: Vectors, key: str, only: Only) -> np.ndarray:
    """bool [N]: whose label `key` is one of those wanted. Each different value is looked at once."""
    values, verdicts = LabelValues(), [np.zeros(0, bool)]
    table = np.zeros(1, bool)  # the last entry is that of -1, a missing label
    for codes in vectors.label_blocks(key, values):
        new = values.texts[len(table) - 1 :]
        table = np.concatenate([table[:-1], [only.allows(key, text) for text in new], [False]]).astype(bool)
        verdicts.append(table[codes])
    return np.concatenate(verdicts)


def _some_values(vectors: Vectors, only: Only, most: int = 8) -> str:
    key, values = next(iter(only.wanted)), LabelValues()
    for _ in vectors.label_blocks(key, values):
        pass
    shown = [json.dumps(json.loads(text), ensure_ascii=False) for text in values.texts[:most]]
    return f"{key} is {', '.join(shown)}{' ...' if len(values.texts) > most else ''}"
