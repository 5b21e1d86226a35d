"""Exact search among documents that are read in blocks: which engine, how much of them at a time, which of them on which rank.

    find = Exact(docs, engine="auto")
    scores, rows = find(queries, 1000)

Legend: Q queries, N documents, D width, k results a query.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from evaluate.engines.ahead import read_ahead
from evaluate.engines.choice import Choice, choose, make
from evaluate.engines.keys import parted
from evaluate.ranks import Ranks
from evaluate.vectors import Vectors
from launch.logs import progress, say

BLOCK_BYTES = 1 << 29
"""Of documents in memory, the block that is read meanwhile and what the engine holds beside its own counted in."""
Finder = Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]
"""(queries float32 [Q, D], k) -> (scores float32 [Q, k], rows int64 [Q, k]), best first; -inf and -1 past the last document."""


class Exact:
    """A `Finder` that looks at every document of `docs`. Memory: a block, the queries and the results, whatever N.

    Args:
        engine, device: as `evaluate/engines/choice.py` has them.
        block_rows: documents held at a time; 0 for as many as make 512 MiB. Does not change the results.
        ranks: of a job, each of which searches its slice of the documents; all of them call with the same queries and k, the first gets
            what one process would, the others lists of no query.
        quiet: no message and no progress bar.
    """

    def __init__(
        self, docs: Vectors, engine: str = "auto", device: str = "auto", block_rows: int = 0, ranks: Ranks | None = None, quiet: bool = False
    ) -> None:
        self._docs, self._engine, self._device, self._block_rows, self._ranks, self._quiet = docs, engine, device, block_rows, ranks or Ranks(), quiet
        self._choice: Choice | None = None

    def __call__(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        first, last = self._ranks.slice(len(self._docs))
        rows = self._block_rows or max(1, BLOCK_BYTES // (self._held() * self._docs.dim))
        blocks = read_ahead(self._docs.blocks(rows, first, last))
        if self._choice is None or not self._choice.finds(k):
            with self._ranks.one_outcome():
                head = next(blocks, None)
            with self._ranks.one_outcome():
                chosen = choose(self._engine, self._device, queries, k, len(self._docs), None if head is None else head[1])
            self._choice = self._ranks.of_first(chosen)
            if not self._quiet:
                say(f"engine: {self._choice}")
            blocks = _again(head, blocks)
            del head
        with self._ranks.one_outcome():
            best = make(self._choice, queries, k)
            with progress(total=last - first, what="search", unit="doc", quiet=self._quiet) as bar:
                for row, block in blocks:
                    behind, own = row - first, len(block)
                    best.add(block, row, lambda share, behind=behind, own=own: bar.update(behind + int(share * own) - bar.n))  # type: ignore[misc]
                    del block
        keys = self._ranks.merged(best.keys())
        return parted(keys[:0].copy() if self._ranks.rank else keys)

    def _held(self) -> int:
        """Bytes for each number of a block: two blocks in float32, and what an engine may add."""
        return 8 + (2 if self._choice is None else self._choice.held)


def _again(head: tuple[int, np.ndarray] | None, blocks: Iterator[tuple[int, np.ndarray]]) -> Iterator[tuple[int, np.ndarray]]:
    """`head`, which is let go of once it is asked for, and then `blocks`."""
    held = [] if head is None else [head]
    del head
    while held:
        yield held.pop()
    yield from blocks
