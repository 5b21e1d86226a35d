"""From the best few of a block, as FAISS ranks them, to the best k as `evaluate/engines/pairs.py` does.

FAISS is asked for a few more than k. Where even the last of them may, by rounding, be as good as the k-th, others that it left out may be,
too, and that query's products with the whole block are looked at; so documents of equal score are chosen by row, never by chance.

Legend: Q queries, n rows of a block, D width, k results a query, C candidates of a query.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from evaluate.engines.keys import keys_of, merge_ragged, scores_of
from evaluate.engines.pairs import pair_products
from evaluate.engines.rounding import Margin

SPARE = 16
"""Candidates beyond k, and one more for each 64 of k, so that rounding hardly ever reaches past the last of them."""
SCORES_AT_ONCE = 1 << 20


class Candidates(NamedTuple):
    """scores float32 [Q, C] and rows int64 [Q, C] of a block's best documents, best first; `margin` says how far the scores may be off."""

    scores: np.ndarray
    rows: np.ndarray
    margin: Margin


def candidates_for(k: int, docs: int) -> int:
    """C for the best `k` of a block of `docs` documents."""
    return min(k + SPARE + k // 64, docs)


def settle(keys: np.ndarray, candidates: Candidates, queries: np.ndarray, block: np.ndarray, first_row: int) -> np.ndarray:
    """Merge the candidates into `keys`; returns the queries, int64 [u], for which that may not be all. Their lists are as they were.

    Args:
        keys: int64 [Q, k], the lists so far, sorted; changed in place.
        candidates: as FAISS found them in `block`.
        queries, block: float32 [Q, D] and [n, D], the rows of which start at `first_row`.
    """
    before = keys.copy()
    may_enter = candidates.scores >= candidates.margin.floor(scores_of(keys[:, -1]))[:, None]
    own, places = np.nonzero(may_enter)
    _merge(keys, queries, block, first_row, own, candidates.rows[own, places])
    if candidates.scores.shape[1] == len(block):
        return np.zeros(0, np.int64)
    unsure = np.flatnonzero(candidates.scores[:, -1] >= candidates.margin.floor(scores_of(keys[:, -1])))
    keys[unsure] = before[unsure]
    return unsure


def look_through(keys: np.ndarray, chosen: np.ndarray, queries: np.ndarray, block: np.ndarray, first_row: int, margin: Margin) -> None:
    """Merge the best of `block` into the lists of the queries `chosen` [u], whatever ties it holds: all products are looked at.

    Arguments as `settle` has them; `margin` is that of float32 products, for all queries.
    """
    for piece in np.array_split(chosen, -(-len(chosen) * len(block) // SCORES_AT_ONCE)) if len(chosen) else []:
        scores = queries[piece] @ block.T
        k = min(keys.shape[1], len(block))
        # The k-th best product of the block may be as much too large as the margin allows, and so may any other be too small.
        kth = np.partition(scores, len(block) - k, axis=1)[:, len(block) - k] if k == keys.shape[1] else np.full(len(piece), -np.inf, np.float32)
        own_margin = margin.of(piece)
        floors = np.maximum(own_margin.floor_of_scores(kth), own_margin.floor(scores_of(keys[piece, -1])))
        own, rows = np.nonzero(scores >= floors[:, None])
        lists = keys[piece]
        _merge(lists, queries[piece], block, first_row, own, rows)
        keys[piece] = lists


def _merge(keys: np.ndarray, queries: np.ndarray, block: np.ndarray, first_row: int, own: np.ndarray, rows: np.ndarray) -> None:
    """Merge the documents `rows` [C] of the queries `own` [C] (ascending) into `keys`."""
    products = pair_products(queries, own, block, rows)
    merge_ragged(keys, keys_of(products, rows + first_row), np.bincount(own, minlength=len(queries)))
