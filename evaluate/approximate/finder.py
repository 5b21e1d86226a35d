"""Search by an index where a search by all documents could stand (`evaluate/engines/exact.py`): whole or filtered, alone or on several ranks.

Legend: N documents, of which a filter may leave fewer, Q queries, D width, k results.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from evaluate.approximate.build import Wanted
from evaluate.approximate.folder import open_index
from evaluate.approximate.given import index_folder, index_place
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
        ranks: of a job, each of which asks for its part of the queries; the first gets all lists. An index that is not there yet is built by
            the first, for which the others wait; all of them have one outcome.
        quiet: no message and no progress bar.

    Raises ValueError for an index that is not of `docs`, and where one cannot be built.
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
        with self._ranks.first_alone():
            folder = index_place(wanted, out) if self._ranks.rank else index_folder(wanted, docs, queries, out, quiet)
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

    def depth_told(self, rows: np.ndarray) -> str:
        """A line for people where the lists `rows` int64 [Q, k] (-1: an empty place) are deeper than what the index was tuned for, or not full;
        else ""."""
        k, card, empty = rows.shape[1], self.card, int((rows < 0).sum())
        # Documents that asked had one less to find than there are.
        deeper = k > card.recall_at and card.recall_at < card.number - 1
        tuned = f"lists of {k} are deeper than the {card.recall_at} results that the index was tuned for (--top_k of its build)" if deeper else ""
        left = f"{empty:,} of {rows.size:,} places stayed empty: what the index looks into held no more" if empty else ""
        return "; ".join(part for part in (tuned, left) if part)
