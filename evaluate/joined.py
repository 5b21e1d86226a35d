"""Several dumps as one set of vectors, and any of their rows by number. Legend: N vectors of all, n of a piece, D width."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from evaluate.dump import Dump, open_shard, piece_rows
from evaluate.embeddings import ANY_ROLE
from evaluate.labels import LabelValues
from evaluate.vectors import UNKNOWN_CHECKPOINT, Vectors


class Joined(Vectors):
    """The rows of `roles` and `domain` (None: any) of `dumps`, one dump after the other, numbered from 0.

    Raises ValueError for dumps of two checkpoints or two widths.
    """

    def __init__(self, dumps: Sequence[Dump], roles: tuple[str, ...] = ANY_ROLE, domain: str | None = None) -> None:
        first = dumps[0]
        for dump in dumps[1:]:
            if dump.dim != first.dim:
                raise ValueError(f"{first.folder} has embeddings of width {first.dim}, {dump.folder} of width {dump.dim}; embed both with one recipe")
            if UNKNOWN_CHECKPOINT not in (first.checkpoint, dump.checkpoint) and dump.checkpoint != first.checkpoint:
                raise ValueError(
                    f"{first.folder} was made by checkpoint {first.checkpoint}, {dump.folder} by {dump.checkpoint}; embed both with one checkpoint"
                )
        self.dumps = tuple(dumps)
        self._sides = [dump.side(roles, domain) for dump in dumps]
        self.shards = tuple((dump, shard) for dump, side in zip(dumps, self._sides) for shard in side.shards)
        self.name, self.dim = " ".join(str(dump.folder) for dump in dumps), first.dim
        self.checkpoint = next((dump.checkpoint for dump in dumps if dump.checkpoint != UNKNOWN_CHECKPOINT), UNKNOWN_CHECKPOINT)
        self.failed = sum(side.failed for side in self._sides)

    def __len__(self) -> int:
        return sum(len(side) for side in self._sides)

    @property
    def id_bytes(self) -> int:
        return max(side.id_bytes for side in self._sides)

    def id_blocks(self) -> Iterator[np.ndarray]:
        for side in self._sides:
            yield from side.id_blocks()

    def require_distinct(self) -> None:
        """Raise ValueError where a dump is given twice, or two of several dumps hold one id: an item has one vector.

        Memory: the ids of all, 400 MB for 20 million of 20 bytes. Of a single dump nothing is read.
        """
        if len(self.dumps) == 1:
            return
        folders = [dump.folder.resolve() for dump in self.dumps]
        for place, dump in enumerate(self.dumps):
            if folders[place] in folders[:place]:
                raise ValueError(f"{dump.folder} is given twice; give each dump once")
        ids, filled = np.empty(len(self), f"S{self.id_bytes}"), 0
        for block in self.id_blocks():
            ids[filled : filled + len(block)] = block
            filled += len(block)
        ids.sort()
        again = np.flatnonzero(ids[1:] == ids[:-1])
        if not len(again):
            return
        item = ids[again[0]]
        one, other = [
            dump.folder for dump, side in zip(self.dumps, self._sides) for block in side.id_blocks() for _ in np.flatnonzero(block == item)
        ][:2]
        both = f"{one} holds the id {item.decode()!r} twice" if one == other else f"{one} and {other} both hold the id {item.decode()!r}"
        raise ValueError(f"{both}; an item has one vector: leave one dump out, or embed the items anew into one dump")

    def ids_at(self, rows: np.ndarray) -> np.ndarray:
        parts, first = [np.zeros(0, "S1")], 0
        for side in self._sides:
            begin, end = np.searchsorted(rows, (first, first + len(side)))
            parts.append(side.ids_at(rows[begin:end] - first))
            first += len(side)
        return np.concatenate(parts)

    def label_keys(self) -> list[str]:
        return sorted({key for side in self._sides for key in side.label_keys()})

    def label_blocks(self, key: str, values: LabelValues) -> Iterator[np.ndarray]:
        for side in self._sides:
            yield from side.label_blocks(key, values)

    def blocks(self, rows_per_block: int = 65536, first: int = 0, last: int | None = None) -> Iterator[tuple[int, np.ndarray]]:
        end, passed = len(self) if last is None else last, 0
        for side in self._sides:
            begin, stop = max(0, first - passed), min(len(side), end - passed)
            if begin < stop:
                for start, block in side.blocks(rows_per_block, begin, stop):
                    yield passed + start, block
                    del block
            passed += len(side)

    def at(self, rows: np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """(first, float32 [n, D], int64 [m]) over the vectors `rows` (int64, ascending, may repeat), a piece at a time.

        The m of `rows` from the place `first` on are the vectors [n, D], which all differ, at the places [m]. Reads the stored chunks that
        hold one of them, each once; a chunk is held at a time.
        """
        passed = 0
        for dump, shard in self.shards:
            begin, end = np.searchsorted(rows, (passed, passed + shard.rows)).tolist()
            if end > begin:
                with open_shard(dump, shard) as file:
                    stored = file["embeddings"]
                    chunk = np.empty((piece_rows(stored), stored.shape[1]), stored.dtype)
                    local = rows[begin:end] - passed
                    edges = np.flatnonzero(np.diff(local // len(chunk), prepend=-1)).tolist()
                    for left, right in pairwise([*edges, len(local)]):
                        start = int(local[left]) // len(chunk) * len(chunk)
                        held = min(len(chunk), shard.rows - start)
                        stored.read_direct(chunk, np.s_[start : start + held], np.s_[:held])
                        different, places = np.unique(local[left:right] - start, return_inverse=True)
                        yield begin + left, chunk[different].astype(np.float32), places
            passed += shard.rows
