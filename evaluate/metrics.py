"""Retrieval metrics over a whole set of queries, never an average of batches.

All are computed from `Found`: where in each query's list its relevant documents stand. A query without relevant documents is left out
of every mean; a relevant document that is not in the list (or was never searched) stays in the denominator, as released.
Legend: Q queries, K results a query, F found pairs (query, relevant document in its list).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CUTOFFS = (10, 20, 50, 100, 200, 500, 1000)
FLAG_BYTES = 1 << 23


@dataclass(frozen=True)
class Found:
    """Where the relevant documents stand.

    relevant int64 [Q]: how many documents are relevant to each query. query int64 [F], rank int64 [F]: row of the query and rank (from 1)
    of each relevant document that its list holds, ordered by query, then rank. depth: K, so that what is not found has a rank above K.
    """

    relevant: np.ndarray
    query: np.ndarray
    rank: np.ndarray
    depth: int

    @property
    def evaluated(self) -> np.ndarray:
        """bool [Q]: queries that have relevant documents. Raises ValueError where none has."""
        chosen = self.relevant > 0
        if not chosen.any():
            raise ValueError(f"none of {len(chosen)} queries has a relevant document: nothing to evaluate")
        return chosen


def find(ranks: np.ndarray, relevant: Sequence[np.ndarray]) -> Found:
    """Where each query's relevant documents stand in its list.

    Args:
        ranks: integer [Q, K], document numbers (0 or more), best first, each once in a row; -1 for padding.
        relevant: for each query the numbers of its relevant documents, each once; -1 (any number of times) for one that is in no list.
    """
    counts = np.array([len(numbers) for numbers in relevant], np.int64)
    ends = np.cumsum(counts)
    documents = np.concatenate([np.zeros(0, np.int64), *relevant]).astype(np.int64)
    owners = np.repeat(np.arange(len(counts)), counts)
    width = 1 + max(int(ranks.max(initial=-1)), int(documents.max(initial=-1)))
    # A row of flags a query, one flag a document, and a last one, which stands for -1 and is never set: one look-up a result.
    flags = np.zeros((max(1, min(len(ranks), FLAG_BYTES // (width + 1))), width + 1), bool)
    queries, places = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for first in range(0, len(ranks), len(flags)):
        block = ranks[first : first + len(flags)]
        last = first + len(block) - 1
        chosen = slice(ends[first] - counts[first], ends[last])
        flags[owners[chosen] - first, documents[chosen]] = True
        flags[:, -1] = False
        query, place = np.nonzero(flags[np.arange(len(block))[:, None], block])
        queries.append(query + first)
        places.append(place + 1)
        flags[owners[chosen] - first, documents[chosen]] = False
    return Found(counts, np.concatenate(queries), np.concatenate(places), ranks.shape[1])


def recall_at(found: Found, k: int) -> float:
    """Mean over queries of (relevant documents among the first k) / (relevant documents)."""
    chosen = found.evaluated
    return float((_hits_within(found, k)[chosen] / found.relevant[chosen]).mean())


def hit_at(found: Found, k: int) -> float:
    """Share of queries with a relevant document among the first k."""
    return float((_hits_within(found, k)[found.evaluated] > 0).mean())


def recall_curve(found: Found) -> np.ndarray:
    """float64 [K]: recall@1 ... recall@K."""
    weights = 1 / np.maximum(found.relevant, 1)
    gained = np.bincount(found.rank, weights[found.query], found.depth + 1)
    return np.cumsum(gained)[1:] / found.evaluated.sum()


def hit_curve(found: Found) -> np.ndarray:
    """float64 [K]: hit@1 ... hit@K."""
    first = np.bincount(first_ranks(found)[found.evaluated], minlength=found.depth + 2)
    return np.cumsum(first)[1 : found.depth + 1] / found.evaluated.sum()


def first_ranks(found: Found) -> np.ndarray:
    """int64 [Q], rank of each query's first relevant document; K + 1 where the list holds none."""
    first = np.full(len(found.relevant), found.depth + 1)
    np.minimum.at(first, found.query, found.rank)
    return first


def median_rank(found: Found) -> float:
    """Median over queries of the first relevant document's rank, K + 1 standing for one that is not in the list.

    A value above K - or half-way to one - is therefore a lower bound; `median_is_bound` tells.
    """
    return float(np.median(first_ranks(found)[found.evaluated]))


def median_is_bound(found: Found) -> bool:
    """True where `median_rank` involves a query whose list holds no relevant document: the true median is at least that."""
    ordered = np.sort(first_ranks(found)[found.evaluated])
    return bool(ordered[len(ordered) // 2] > found.depth)


def mean_reciprocal_rank(found: Found) -> float:
    """Mean over queries of 1 / (rank of the first relevant document), 0 where the list holds none."""
    first = first_ranks(found)[found.evaluated]
    return float(np.where(first <= found.depth, 1 / first, 0.0).mean())


def mean_average_precision(found: Found) -> float:
    """Mean over queries of (1 / relevant) * sum over relevant documents in the list of (precision at its rank)."""
    starts = np.searchsorted(found.query, np.arange(len(found.relevant)))
    order = np.arange(len(found.query)) - starts[found.query] + 1
    sums = np.bincount(found.query, order / found.rank, len(found.relevant))
    chosen = found.evaluated
    return float((sums[chosen] / found.relevant[chosen]).mean())


def ndcg_at(found: Found, k: int) -> float:
    """Mean over queries of DCG@k / ideal DCG@k, with gain 1 for a relevant document and discount log2(1 + rank)."""
    within = found.rank <= k
    gains = np.bincount(found.query[within], 1 / np.log2(1.0 + found.rank[within]), len(found.relevant))
    ideal = np.concatenate([[0.0], np.cumsum(1 / np.log2(2.0 + np.arange(k)))])
    chosen = found.evaluated
    return float((gains[chosen] / ideal[np.minimum(found.relevant[chosen], k)]).mean())


def all_metrics(found: Found, docs: int, cutoffs: Sequence[int] | None = None) -> dict[str, float | bool]:
    """Every metric by the name it has in metrics.json.

    recall@1, @5 and at `cutoffs` (default: 10 to 1000) where as many documents were searched, hit@1, @5, @10, median_rank,
    median_rank_is_lower_bound, mrr, map, ndcg@10.

    Args:
        docs: number of documents searched.
        cutoffs: given explicitly, all of them must be reached by `docs`.

    Raises ValueError where the lists are shorter than a metric needs.
    """
    wanted = sorted({k for k in (1, 5, *CUTOFFS) if k <= docs} if cutoffs is None else set(cutoffs))
    if wanted and wanted[0] < 1:
        raise ValueError(f"recall@{wanted[0]}: a cutoff is at least 1")
    for k in wanted:
        if k > docs:
            raise ValueError(f"recall@{k} needs {k} documents, {docs} were searched; leave that cutoff out")
        if k > found.depth:
            raise ValueError(f"recall@{k} needs {k} results a query, ranked.h5 has {found.depth}; search with --top_k {k} or leave that cutoff out")
    if found.depth < min(10, docs):
        raise ValueError(f"hit@10 and ndcg@10 need {min(10, docs)} results a query, ranked.h5 has {found.depth}; search with --top_k 10 or more")
    return {
        **{f"recall@{k}": recall_at(found, k) for k in wanted},
        **{f"hit@{k}": hit_at(found, k) for k in (1, 5, 10)},
        "median_rank": median_rank(found),
        "median_rank_is_lower_bound": median_is_bound(found),
        "mrr": mean_reciprocal_rank(found),
        "map": mean_average_precision(found),
        "ndcg@10": ndcg_at(found, 10),
    }


def chance(relevant: np.ndarray, docs: int, cutoffs: Sequence[int], searched: np.ndarray | None = None) -> dict[str, float]:
    """Exact expectation of recall@k and hit@k where every order of the documents is equally likely.

        recall@k = k / N * searched / relevant,    hit@k = 1 - C(N - searched, k) / C(N, k)   (hypergeometric), mean over queries

    Args:
        relevant: int [Q], relevant documents a query; queries with 0 are left out.
        docs: N, number of documents.
        cutoffs: values of k.
        searched: int [Q], how many of the relevant ones are among the N documents; all of them if not given.
    """
    relevant = np.asarray(relevant)
    present = relevant if searched is None else np.asarray(searched)
    relevant, present = relevant[relevant > 0], present[relevant > 0]
    if not len(relevant):
        raise ValueError("no query has a relevant document: nothing to evaluate")
    if present.max() > docs:
        raise ValueError(f"a query has {present.max()} relevant documents among {docs} documents")
    values = {f"recall@{k}": float((min(k, docs) / docs * present / relevant).mean()) for k in cutoffs}
    kinds, which = np.unique(present, return_inverse=True)
    for k in cutoffs:
        # C(N - r, k) / C(N, k) as a product of r factors: none of the r is among the first k.
        missed = np.array([np.prod(np.maximum(docs - k - np.arange(r), 0) / (docs - np.arange(r))) for r in kinds])
        values[f"hit@{k}"] = float((1 - missed)[which].mean())
    return values


def _hits_within(found: Found, k: int) -> np.ndarray:
    return np.bincount(found.query[found.rank <= k], minlength=len(found.relevant))
