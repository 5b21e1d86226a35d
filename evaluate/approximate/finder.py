"""Search by an index where a search by all documents could stand (`evaluate/engines/exact.py`): whole or filtered, alone or on several ranks.

Legend: N documents, of which a filter may leave fewer, Q queries, D width, k results.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from evaluate.approximate.build import Wanted
from evaluate.approximate.folder import open_index
from evaluate.approximate.given import index_folder
from evaluate.engines.keys import NOTHING, keys_of, rows_of, scores_of
from evaluate.joined import Joined
from evaluate.ranks import Ranks
from evaluate.vectors import Vectors
from launch.logs import say


class ByIndex:
    """A `Finder` that asks an index. Memory: what is touched of the mapped index, queries, results, and a batch of candidates.

    Args:
        wanted: the folder of an index of `docs`, or what to build in OUT/index.
        docs: all documents of the index, in its order.
        queries: those that will be searched with; an index that is built is tuned with some of them.
        out: folder of the search's results.
        kept: bool [N], the documents to search among; rows are then numbered among these. None: all.
        ranks: of a job, each of which asks for its part of the queries; the first gets all lists.
        quiet: no message and no progress bar.

    Raises ValueError for an index that is not of `docs`. In a job it must be there (`wanted_index` sees to that).
    """

    def __init__(
        self,
        wanted: Wanted,
        docs: Joined,
        queries: Vectors,
        out: str | Path,
        kept: np.ndarray | None = None,
        ranks: Ranks | None = None,
        quiet: bool = False,
    ) -> None:
        self._kept, self._ranks, self._quiet = kept, ranks or Ranks(), quiet
        folder = index_folder(wanted, docs, queries, out, quiet)
        self._searching, self.card = open_index(folder, docs)
        self._numbers = None if kept is None else np.cumsum(kept) - 1
        if not quiet:
            say(f"index: {folder}, {self.card}, recall@{self.card.recall_at} {self.card.recall:.4f}{' without a filter' if kept is not None else ''}")

    def __call__(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        first, last = self._ranks.slice(len(queries))
        keys = np.full((len(queries), k), NOTHING)
        with self._ranks.one_outcome():
            scores, rows = self._searching.best(queries[first:last], k, self._kept, self._quiet)
            if self._numbers is not None:
                rows = np.where(rows < 0, -1, self._numbers[rows])
            keys[first:last] = np.where(rows < 0, NOTHING, keys_of(scores, np.maximum(rows, 0)))
        keys = self._ranks.merged(keys)
        return scores_of(keys), rows_of(keys)
