"""Exact search by FAISS on the processor. Legend: Q queries, N documents, n rows of a block, D width, k results a query."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from evaluate.engines.best import Best, no_lists
from evaluate.engines.faiss_loading import load_faiss
from evaluate.engines.pairs import longest_of
from evaluate.engines.rounding import plain_margin
from evaluate.engines.settle import Candidates, candidates_for, look_through, settle

QUERIES_AT_ONCE = 1024


def search_arrays(queries: np.ndarray, docs: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """(scores float32 [Q, k], rows int64 [Q, k]) of the best k documents of each query, best first; k is capped at N.

    Args:
        queries: [Q, D], any float type; the arithmetic is float32.
        docs: [N, D].
    """
    best = FaissBest(queries, min(k, len(docs)))
    best.add(docs, 0)
    return best.result()


class FaissBest(Best):
    """The best k by FAISS's matrix products and heaps, a few more than k of them, which are then scored anew (settle.py)."""

    name = "FAISS on the processor"

    def __init__(self, queries: np.ndarray, k: int) -> None:
        super().__init__(queries, k)
        self._keys = no_lists(len(self._queries), k)

    def keys(self) -> np.ndarray:
        return self._keys

    def _compete(self, block: np.ndarray, first_row: int) -> Iterator[float]:
        faiss = load_faiss()
        longest = longest_of(block)
        self._check_lengths(longest)
        wanted = candidates_for(self._k, len(block))
        for begin in range(0, len(self._queries), QUERIES_AT_ONCE):
            chosen = slice(begin, begin + QUERIES_AT_ONCE)
            margin = plain_margin(self._lengths[chosen], longest, block.shape[1])
            scores, rows = faiss.knn(self._queries[chosen], block, wanted, metric=faiss.METRIC_INNER_PRODUCT)
            given = self._queries[chosen], block, first_row
            unsure = settle(self._keys[chosen], Candidates(scores, rows, margin), *given)
            look_through(self._keys[chosen], unsure, *given, margin)
            yield min(1.0, chosen.stop / len(self._queries))
