"""Every metric of every query, as columns: means, medians, categories and resamples are all taken from them.

Legend: E queries that have relevant documents, M metrics that are means over queries, K results a query.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evaluate.judging.metrics import (
    HIT_CUTOFFS,
    NDCG_CUTOFFS,
    Found,
    average_precisions,
    check_cutoffs,
    first_ranks,
    hits,
    ndcgs,
    recalls,
    reciprocal_ranks,
)


@dataclass(frozen=True)
class PerQuery:
    """The metrics of E queries.

    rows: int64 [E], the queries' rows in the lists, ascending. names: of the M columns of values, float64 [E, M]. first: int64 [E], rank
    of the first relevant document, K + 1 where the list holds none. depth: K.
    """

    rows: np.ndarray
    names: tuple[str, ...]
    values: np.ndarray
    first: np.ndarray
    depth: int

    def column(self, name: str) -> np.ndarray:
        """float64 [E]: the metric `name` of each query."""
        return self.values[:, self.names.index(name)]

    def at(self, chosen: np.ndarray) -> PerQuery:
        """Those of the places `chosen` (of E) alone."""
        return PerQuery(self.rows[chosen], self.names, self.values[chosen], self.first[chosen], self.depth)

    def metrics(self) -> dict[str, float | bool]:
        """Every metric over these queries by the name it has in metrics.json: recall@k, hit@k, median_rank,
        median_rank_is_lower_bound, mrr, map, ndcg@5, ndcg@10.

        The median rank has K + 1 stand for a query that finds nothing: a value above K - or half-way to one - is a lower bound, and
        median_rank_is_lower_bound is True where such a query is in the middle.
        """
        means = dict(zip(self.names, self.values.mean(axis=0).tolist()))
        middle = int(np.partition(self.first, len(self.first) // 2)[len(self.first) // 2])
        ranks = {"median_rank": float(np.median(self.first)), "median_rank_is_lower_bound": middle > self.depth}
        last = ("mrr", "map", *(f"ndcg@{k}" for k in NDCG_CUTOFFS))
        return {name: value for name, value in means.items() if name not in last} | ranks | {name: means[name] for name in last}


def per_query(found: Found, docs: int, cutoffs: Sequence[int] | None = None) -> PerQuery:
    """The metrics of every query that has relevant documents.

    Args:
        docs: number of documents that a list could hold.
        cutoffs: k of recall@k (`evaluate.judging.metrics.check_cutoffs`).

    Raises ValueError where the lists are shorter than a metric needs, and where no query has a relevant document.
    """
    columns = {f"recall@{k}": recalls(found, k) for k in check_cutoffs(cutoffs, docs, found.depth)}
    columns |= {f"hit@{k}": hits(found, k) for k in HIT_CUTOFFS}
    columns |= {"mrr": reciprocal_ranks(found), "map": average_precisions(found)} | {f"ndcg@{k}": ndcgs(found, k) for k in NDCG_CUTOFFS}
    rows = np.flatnonzero(found.evaluated)
    values = np.empty((len(rows), len(columns)))
    for place, column in enumerate(columns.values()):
        values[:, place] = column[rows]
    return PerQuery(rows, tuple(columns), values, first_ranks(found)[rows], found.depth)
