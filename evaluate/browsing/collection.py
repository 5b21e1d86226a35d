"""A domain of a dump in memory, to be searched exactly, a few vectors at a time. Legend: N items, n of a block, D width, k results."""

from __future__ import annotations

import numpy as np

from evaluate.dump import Dump
from evaluate.engines.faiss_flat import FaissBest
from evaluate.ids import IdTable, encode_ids

BLOCK_ROWS = 65536


class Collection:
    """The items of `domain` in `dump`: ids, and embeddings in blocks, in the type that they have in the file.

    Raises ValueError where an embedding is not finite.
    """

    def __init__(self, dump: Dump, domain: str) -> None:
        side = dump.side(domain=domain)
        self.domain, self.name = domain, side.name
        self._ids = side.ids()
        self._table = IdTable(self._ids)
        self._blocks = [(first, block.astype(dump.dtype)) for first, block in side.blocks(BLOCK_ROWS)]
        self._shards = [shard.path.stem for shard in side.shards]
        self._ends = np.cumsum([shard.rows for shard in side.shards])

    def __len__(self) -> int:
        return len(self._ids)

    def nearest(self, vector: np.ndarray, k: int) -> list[tuple[int, float]]:
        """(row, inner product) of the best k for `vector` [D], best first; all where there are fewer."""
        best = FaissBest(vector[None], min(k, len(self)))
        for first, block in self._blocks:
            best.add(block, first)
        [scores], [rows] = best.result()
        return list(zip(rows.tolist(), scores.tolist()))

    def row_of(self, item: str) -> int | None:
        """The row of an item by its id, None where it is not here."""
        try:
            [row] = self._table.places(encode_ids([item]))
        except ValueError:  # no id at all
            return None
        return int(row) if row >= 0 else None

    def id_of(self, row: int) -> str:
        """The id of a row."""
        return self._ids[row].decode()

    def shard_of(self, row: int) -> str:
        """The name of the shard that a row came from."""
        return self._shards[int(np.searchsorted(self._ends, row, side="right"))]

    def vector(self, row: int) -> np.ndarray:
        """float32 [D]: the embedding of a row."""
        first, block = self._blocks[row // BLOCK_ROWS]
        return block[row - first].astype(np.float32)

    def some(self, number: int) -> list[int]:
        """Up to `number` rows, evenly apart."""
        return np.unique(np.linspace(0, len(self) - 1, min(number, len(self))).astype(int)).tolist() if len(self) else []
