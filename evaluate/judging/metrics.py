"""Retrieval metrics over a whole set of queries, never an average of batches.

All are computed from `Found`: where in each query's list its relevant documents stand. A query without relevant documents is left out
of every mean; a relevant document that is not in the list (or was never searched) stays in the denominator, as released.

A search with --dedup leaves near-identical documents out of a list; one that is relevant counts as found where the document that stands
for it does. So two relevant documents may share a place. Recall counts documents; average precision and nDCG look at the list as a person
does, where that place is one relevant result: precision at rank r is (relevant places among the first r) / r, and the ideal list of nDCG
has one place for relevant documents that share one. Without folding all of it is the usual definition.

Legend: Q queries, K results a query, F found pairs (query, relevant document), n queries of a block.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from evaluate.ranked import ListBlock

CUTOFFS = (10, 20, 50, 100, 200, 500, 1000)
HIT_CUTOFFS = (1, 5, 10)
NDCG_CUTOFFS = (5, 10)
FLAG_BYTES = 1 << 23


@dataclass(frozen=True)
class Found:
    """Where the relevant documents stand.

    relevant int64 [Q]: how many documents are relevant to each query. query int64 [F], rank int64 [F]: row of the query and rank (from 1)
    of each relevant document that its list holds (or holds the stand-in of), ordered by query, then rank. depth: K, so that what is not
    found has a rank above K.
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

    @property
    def new_place(self) -> np.ndarray:
        """bool [F]: True for the first of the found documents that share a place of a list."""
        return np.concatenate([np.ones(len(self.rank[:1]), bool), (np.diff(self.query) != 0) | (np.diff(self.rank) != 0)])

    def cut(self, depth: int) -> Found:
        """As lists of `depth` results, K at most, would have it."""
        kept = self.rank <= depth
        return Found(self.relevant, self.query[kept], self.rank[kept], depth)


def find(blocks: Iterable[ListBlock], counts: np.ndarray, documents: np.ndarray, numbers: int, depth: int) -> Found:
    """Where each query's relevant documents stand in its list. One block of lists is held at a time.

    Args:
        blocks: all lists, in order; documents are numbers of 0 or more, each once in a list, -1 for padding.
        counts: int64 [Q], how many documents are relevant to each query.
        documents: int64 [sum of counts], their numbers, query by query; -1 (any number of times) for one that is in no list.
        numbers: above every document's number.
        depth: K.
    """
    ends = np.cumsum(counts)
    owners = np.repeat(np.arange(len(counts)), counts)
    # A row of flags a query, one flag a document, and a last one, which stands for -1 and is never set: one look-up a result.
    flags = np.zeros((max(1, min(len(counts), FLAG_BYTES // (numbers + 1))), numbers + 1), bool)
    queries, places = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for block in blocks:
        for offset in range(0, len(block.ranks), len(flags)):
            ranks = block.ranks[offset : offset + len(flags)]
            first = block.first + offset
            last = first + len(ranks) - 1
            chosen = slice(ends[first] - counts[first], ends[last])
            flags[owners[chosen] - first, documents[chosen]] = True
            flags[:, -1] = False
            query, place = np.nonzero(flags[np.arange(len(ranks))[:, None], ranks])
            begin, end = np.searchsorted(block.folded.query, (offset, offset + len(ranks)))
            folded = block.folded.query[begin:end] - offset
            if hidden := np.flatnonzero(flags[folded, block.folded.doc[begin:end]]).tolist():
                query = np.concatenate([query, folded[hidden]])
                place = np.concatenate([place, block.folded.place[begin:end][hidden]])
                order = np.lexsort((place, query))
                query, place = query[order], place[order]
            queries.append(query + first)
            places.append(place + 1)
            flags[owners[chosen] - first, documents[chosen]] = False
    return Found(counts, np.concatenate(queries), np.concatenate(places), depth)


def recalls(found: Found, k: int) -> np.ndarray:
    """float64 [Q]: (relevant documents among the first k) / (relevant documents), 0 for a query that has none."""
    return _within(found, k) / np.maximum(found.relevant, 1)


def hits(found: Found, k: int) -> np.ndarray:
    """float64 [Q]: 1 where a relevant document is among the first k, else 0."""
    return (_within(found, k) > 0).astype(np.float64)


def first_ranks(found: Found) -> np.ndarray:
    """int64 [Q], rank of each query's first relevant document; K + 1 where the list holds none."""
    first = np.full(len(found.relevant), found.depth + 1)
    np.minimum.at(first, found.query, found.rank)
    return first


def reciprocal_ranks(found: Found) -> np.ndarray:
    """float64 [Q]: 1 / (rank of the first relevant document), 0 where the list holds none."""
    first = first_ranks(found)
    return np.where(first <= found.depth, 1 / first, 0.0)


def average_precisions(found: Found) -> np.ndarray:
    """float64 [Q]: (1 / relevant) * sum over relevant documents in the list of (precision at its rank)."""
    # How many relevant places of its own query a found document has up to its own: all so far, less those of earlier queries.
    so_far = np.cumsum(found.new_place)
    starts = np.searchsorted(found.query, np.arange(len(found.relevant)))
    before = np.concatenate([[0], so_far])[starts]
    sums = np.bincount(found.query, (so_far - before[found.query]) / found.rank, len(found.relevant))
    return sums / np.maximum(found.relevant, 1)


def ndcgs(found: Found, k: int) -> np.ndarray:
    """float64 [Q]: DCG@k / ideal DCG@k, with gain 1 for a relevant place and discount log2(1 + rank); 0 for a query that has none."""
    new = found.new_place
    within = (found.rank <= k) & new
    gains = np.bincount(found.query[within], 1 / np.log2(1.0 + found.rank[within]), len(found.relevant))
    ideal = np.concatenate([[0.0], np.cumsum(1 / np.log2(2.0 + np.arange(k)))])
    best = found.relevant - np.bincount(found.query[~new], minlength=len(found.relevant))
    return gains / ideal[np.clip(best, 1, k)]


def recall_curve(found: Found) -> np.ndarray:
    """float64 [K]: recall@1 ... recall@K."""
    weights = 1 / np.maximum(found.relevant, 1)
    gained = np.bincount(found.rank, weights[found.query], found.depth + 1)
    return np.cumsum(gained)[1:] / found.evaluated.sum()


def hit_curve(found: Found) -> np.ndarray:
    """float64 [K]: hit@1 ... hit@K."""
    first = np.bincount(first_ranks(found)[found.evaluated], minlength=found.depth + 2)
    return np.cumsum(first)[1 : found.depth + 1] / found.evaluated.sum()


def check_cutoffs(cutoffs: Sequence[int] | None, docs: int, depth: int) -> list[int]:
    """The k of recall@k, ascending: those given, or by default 1, 5, 10 ... 1000 where as many of `docs` documents were searched.

    Raises ValueError where lists of `depth` results are shorter than a metric needs, or a cutoff that was given is above `docs`.
    """
    wanted = sorted({k for k in (1, 5, *CUTOFFS) if k <= docs} if cutoffs is None else set(cutoffs))
    if wanted and wanted[0] < 1:
        raise ValueError(f"recall@{wanted[0]}: a cutoff is at least 1")
    for k in wanted:
        if k > docs:
            raise ValueError(f"recall@{k} needs {k} documents, {docs} were searched; leave that cutoff out")
        if k > depth:
            raise ValueError(f"recall@{k} needs {k} results a query, ranked.h5 has {depth}; search with --top_k {k} or leave that cutoff out")
    if depth < min(10, docs):
        raise ValueError(f"hit@10 and ndcg@10 need {min(10, docs)} results a query, ranked.h5 has {depth}; search with --top_k 10 or more")
    return wanted


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


def _within(found: Found, k: int) -> np.ndarray:
    return np.bincount(found.query[found.rank <= k], minlength=len(found.relevant))
