"""The best k documents of each query so far: what every engine is.

    best = FaissBest(queries, k)            # or any other engine
    for first, block in docs.blocks(rows):
        best.add(block, first)
    scores, rows = best.result()

The order of a result is fixed: score descending, documents of equal score by row ascending. Scores are those of `evaluate/engines/pairs.py`,
so neither the engine nor the size of the blocks nor the number of threads or ranks shows in it (a card's may differ from a processor's in
the last bit). An engine rounds as it likes while it looks for candidates, and keeps all that a proven bound does not rule out
(`evaluate/engines/rounding.py`).

Legend: Q queries, N documents, n rows of a block, D width, k results a query.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

import numpy as np

from evaluate.engines.keys import MOST_ROWS, NOTHING, rows_of, scores_of
from evaluate.engines.rounding import LARGEST


class NoRoom(ValueError):
    """An engine's device has not the memory that it needs."""


class Best(ABC):
    """The best k documents of each query so far. Memory: queries, 8 Q k bytes, and buffers that depend on k alone.

    Args:
        queries: [Q, D], any float type; the arithmetic is float32.
        k: results a query, at least 1.
    """

    name: str
    """What a person calls the engine in a message."""

    def __init__(self, queries: np.ndarray, k: int) -> None:
        if k < 1:
            raise ValueError(f"the best {k} documents: at least 1")
        self._queries = np.ascontiguousarray(queries, np.float32)
        self._lengths = np.sqrt(np.einsum("qd,qd->q", self._queries, self._queries, dtype=np.float64))
        self._k = k
        self._next_row = 0

    def add(self, block: np.ndarray, first_row: int, done: Callable[[float], object] = float) -> None:
        """Let the documents `block` [n, D], whose rows start at `first_row`, compete; blocks come in ascending order of rows.

        `done` is called with the share of this work that is behind, 1 at its end: with many queries a block takes long.

        Raises ValueError for products that float32 may not hold, and NoRoom.
        """
        assert first_row >= self._next_row, f"rows from {first_row} on after those up to {self._next_row}"
        self._next_row = first_row + len(block)
        if block.ndim != 2 or block.shape[1] != self._queries.shape[1]:
            raise ValueError(f"documents of shape {list(block.shape)}, queries of shape {list(self._queries.shape)}: widths differ")
        if self._next_row >= MOST_ROWS:
            raise ValueError(f"{self._next_row} documents: at most 2^32 documents are searched at once; search parts of them")
        if len(block) and len(self._queries):
            for share in self._compete(np.ascontiguousarray(block, np.float32), first_row):
                done(share)
        done(1.0)

    @abstractmethod
    def _compete(self, block: np.ndarray, first_row: int) -> Iterator[float]:
        """`add` once its arguments are looked at: float32 rows, one after the other, at least one. Yields the share that is behind."""

    @abstractmethod
    def keys(self) -> np.ndarray:
        """int64 [Q, k]: the lists as `evaluate/engines/keys.py` has them; NOTHING past the last document. Not a copy where none is needed."""

    def result(self) -> tuple[np.ndarray, np.ndarray]:
        """(scores float32 [Q, k], rows int64 [Q, k]), best first; -inf and -1 past the last document."""
        keys = self.keys()
        return scores_of(keys), rows_of(keys)

    def _check_lengths(self, longest: float) -> None:
        """Raise ValueError where products with documents up to the length `longest` may be more than float32 holds."""
        if not longest * float(self._lengths.max()) <= LARGEST["float32"]:
            raise ValueError(
                "inner products are too large for float32 or not numbers; normalise the embeddings (python -m evaluate.dump verify names their rows)"
            )


def no_lists(queries: int, k: int) -> np.ndarray:
    """Keys of lists without a document."""
    return np.full((queries, k), NOTHING)
