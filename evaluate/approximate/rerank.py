"""Exact scores of candidates, whose vectors are read from the dump: those that exact search gives, to the last bit.

Legend: q queries, C candidates a query, k results, D width.
"""

from __future__ import annotations

import numpy as np

from evaluate.engines.keys import NOTHING, keys_of, rows_of, scores_of
from evaluate.engines.pairs import pair_products
from evaluate.joined import Joined


def exact_scores(queries: np.ndarray, candidates: np.ndarray, docs: Joined) -> np.ndarray:
    """float32 [q, C]: inner products of `queries` float32 [q, D] with their `candidates` int64 [q, C]; -inf where a candidate is -1.

    Candidates are visited in the order of the dump, so that each stored chunk is read once. Memory: some 40 bytes a candidate, and a chunk.
    """
    scores = np.full(candidates.shape, -np.inf, np.float32)
    flat = candidates.ravel()
    order = np.argsort(flat, kind="stable")
    order = order[np.searchsorted(flat[order], 0) :]
    for first, vectors, places in docs.at(flat[order]):
        pairs = order[first : first + len(places)]
        scores.ravel()[pairs] = pair_products(queries, pairs // candidates.shape[1], vectors, places)
    return scores


def best_first(scores: np.ndarray, rows: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """(scores, rows) [q, k]: the best k of each list, score descending, equal ones by row ascending; -inf and -1 where there is none."""
    keys = np.where(rows < 0, NOTHING, keys_of(scores, np.maximum(rows, 0)))
    keys.sort(axis=1)
    keys = np.ascontiguousarray(keys[:, :k])
    return scores_of(keys), rows_of(keys)
