"""Queries to measure an index with, and what exact search finds for them: one half to tune on, the other to check with.

Given queries are drawn from; without any, documents ask for their neighbours: each then finds itself, which is not counted, so one result
more is asked for. Documents ask alike to what they look for, which is easier than the queries of another domain. Either way training
does not see them: documents that ask are left out of the sample that the index is trained on.
Legend: N documents, D width, q queries, k results a query.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, replace
from importlib.util import find_spec

import numpy as np

from evaluate.engines import choice
from evaluate.engines.exact import Exact
from evaluate.joined import Joined
from evaluate.vectors import Vectors

BLOCK_BYTES = 1 << 28
MOST_TIES = 100
"""Documents beyond k that are looked at for equal scores."""
FEWER = 10
"""Documents that ask are at most one in so many, so that enough are left to train an index."""


@dataclass(frozen=True)
class HeldOut:
    """Queries and their exact results."""

    queries: np.ndarray
    """float32 [q, D]."""
    k: int
    """Results a query that count."""
    exact: np.ndarray
    """int64 [q, k + ties]: the best k documents of each, best first, and others that score what the k-th does; -1 where there are no more. Its
    own row is not among them."""
    sure: np.ndarray
    """int64 [q]: how many score more than the k-th. Of the others any will do: copies of a product are equally good."""
    own: np.ndarray
    """int64 [d] rows of the documents that ask, ascending; empty where queries were given."""

    @property
    def depth(self) -> int:
        """Results to ask for: k, and one more where each query finds itself."""
        return self.k + bool(len(self.own))

    def halves(self) -> tuple[HeldOut, HeldOut]:
        """Every other query, and the rest."""
        every = (slice(0, None, 2), slice(1, None, 2))
        one, other = (replace(self, queries=self.queries[some], exact=self.exact[some], sure=self.sure[some]) for some in every)
        return one, other

    def recall(self, rows: np.ndarray, chosen: slice = slice(None)) -> np.ndarray:
        """float64 [q]: share of the exact results of the queries `chosen` among what was found for them, `rows` int64 [q, C]."""
        shares = []
        for exact, sure, found in zip(self.exact[chosen], self.sure[chosen], rows):
            hits = np.isin(exact, found) & (exact >= 0)
            shares.append((hits[:sure].sum() + min(self.k - sure, hits[sure:].sum())) / self.k)
        return np.array(shares, np.float64)


def hold_out(docs: Joined, queries: Vectors | None, number: int, k: int, seed: int, quiet: bool = False) -> HeldOut:
    """At most `number` queries drawn by `seed`, with their best `k` documents by exact search: a pass through all documents.

    Args:
        queries: to draw from; None for documents that ask.

    Raises ValueError for fewer than 2 queries or documents, and for k of more than there are documents.
    """
    asking = docs if queries is None else queries
    if len(asking) < 2 or len(docs) < 2:
        raise ValueError(f"{asking.name}: {len(asking)} queries for {len(docs)} documents; an index is measured with at least 2 of each")
    if number < 2 or k < 1:
        raise ValueError(f"--held_out {number} --top_k {k}: at least 2 queries and 1 result")
    if k > len(docs):
        raise ValueError(f"--top_k {k}: {docs.name} holds {len(docs)} documents; measure the recall of at most as many results")
    rows = draw_rows(len(asking), number if queries is not None else min(number, max(2, len(docs) // FEWER)), seed)
    vectors = chosen_rows(asking, rows)
    own = rows if queries is None else np.zeros(0, np.int64)
    k = min(k, len(docs) - bool(len(own)))
    scores, found = Exact(docs, quiet=quiet)(vectors, min(len(docs), k + MOST_TIES + bool(len(own))))
    if len(own):
        # The own row goes, or the last where the own is not there; what is before it keeps its order.
        order = np.argsort(found == own[:, None], axis=1, kind="stable")[:, :-1]
        scores, found = np.take_along_axis(scores, order, axis=1), np.take_along_axis(found, order, axis=1)
    worst = scores[:, k - 1 : k]
    return HeldOut(vectors, k, np.where(scores >= worst, found, -1), (scores > worst).sum(axis=1), own)


def load_torch_first(docs: Joined, number: int) -> None:
    """Load torch where the exact search of `hold_out`, with at most `number` queries, may do so. To be called before FAISS is loaded, for one
    process has to load torch before it (`evaluate/engines/faiss_loading.py`)."""
    if float(number) * len(docs) * docs.dim >= choice.SMALL and find_spec("torch") is not None:
        importlib.import_module("torch")


def draw_rows(rows: int, number: int, seed: int, without: np.ndarray | None = None) -> np.ndarray:
    """int64: at most `number` of `rows` rows, uniform, ascending, none of `without` (ascending)."""
    left = rows - (0 if without is None else len(without))
    drawn = np.sort(np.random.default_rng(seed).choice(left, min(number, left), replace=False, shuffle=False)).astype(np.int64)
    if without is not None and len(without):
        # The i-th of the rows that are left stands behind all of `without` that have at most i rows left before them.
        drawn += np.searchsorted(without - np.arange(len(without)), drawn, side="right")
    return drawn


def chosen_rows(vectors: Vectors, rows: np.ndarray) -> np.ndarray:
    """float32 [n, D]: the vectors `rows` (ascending, all different); what cannot be read by row is passed through."""
    found = np.empty((len(rows), vectors.dim), np.float32)
    if isinstance(vectors, Joined):
        for first, own, places in vectors.at(rows):
            found[first : first + len(places)] = own[places]
        return found
    for first, block in vectors.blocks(max(1, BLOCK_BYTES // (4 * vectors.dim))):
        begin, end = np.searchsorted(rows, (first, first + len(block)))
        found[begin:end] = block[rows[begin:end] - first]
        del block
    return found
