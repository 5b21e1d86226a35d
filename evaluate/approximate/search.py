"""Search by an index: candidates from FAISS, exact scores from the dump where the index was tuned so, a fixed order.

Legend: N vectors, D width, Q queries, C candidates a query, k results.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from evaluate.approximate.faiss_index import among, in_one_line
from evaluate.approximate.rerank import best_first, exact_scores
from evaluate.approximate.tune import Setting, apply
from evaluate.joined import Joined
from launch.logs import progress

CANDIDATES_AT_ONCE = 1 << 23


class IndexSearch:
    """FAISS's `index` over `docs`, searched by `setting`."""

    def __init__(self, index: Any, docs: Joined, setting: Setting, name: str) -> None:
        self._index, self._docs, self._setting, self._name = index, docs, setting, name
        apply(index, setting)

    def best(self, queries: np.ndarray, k: int, allowed: np.ndarray | None = None, quiet: bool = True) -> tuple[np.ndarray, np.ndarray]:
        """(scores float32 [Q, k], rows int64 [Q, k]): the best k that were found, score descending, equal ones by row ascending; -inf and -1
        where a list is shorter.

        Args:
            queries: float32 [Q, D].
            allowed: bool [N], rows that may be found; None for all. The fewer they are, the more lists are looked into.

        Raises ValueError where FAISS cannot search this kind of index among some rows, and for an index that finds rows that are not there.
        """
        number = len(self._docs) if allowed is None else int(allowed.sum())
        depth = min(number, k * max(1, self._setting.factor))
        parameters = None if allowed is None else among(self._index, allowed)
        at_once = max(1, CANDIDATES_AT_ONCE // depth)
        scores, rows = np.full((len(queries), k), -np.inf, np.float32), np.full((len(queries), k), -1)
        with progress(total=len(queries), what="search by index", unit="query", quiet=quiet) as bar:
            for first in range(0, len(queries), at_once):
                chosen = slice(first, first + at_once)
                asking = np.ascontiguousarray(queries[chosen], np.float32)
                found, places = self._candidates(asking, depth, parameters)
                if wrong := places[(places < -1) | (places >= len(self._docs))].tolist():
                    raise ValueError(f"{self._name} finds row {wrong[0]} of {len(self._docs)}, so it is damaged; build the index again")
                if self._setting.factor:
                    found = exact_scores(asking, places, self._docs)
                scores[chosen, :depth], rows[chosen, :depth] = best_first(found, places, k)
                bar.update(len(places))
        return scores, rows

    def _candidates(self, queries: np.ndarray, depth: int, parameters: Any) -> tuple[np.ndarray, np.ndarray]:
        if parameters is None:
            return self._index.search(queries, depth)
        with in_one_line(f"{self._name} cannot be searched with --only; leave --index out"):
            return self._index.search(queries, depth, params=parameters)
