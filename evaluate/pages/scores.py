"""The scores that a query's success turns on: that of its best relevant document, and that of the best one that is not relevant.

Legend: Q queries, K results a query, n queries of a block.
"""

from __future__ import annotations

from dataclasses import dataclass

import h5py
import numpy as np

from evaluate.judging.metrics import Found, first_ranks
from evaluate.ranked import Ranked

BLOCK_BYTES = 1 << 24


@dataclass(frozen=True)
class BestScores:
    """Both float32 [Q], NaN where a query's list holds no such document. A document that stands for a relevant one counts as relevant."""

    relevant: np.ndarray
    irrelevant: np.ndarray


def best_scores(ranked: Ranked, found: Found) -> BestScores:
    """Those of all queries; the lists' scores are read in blocks of some 16 MB."""
    places = np.stack([first_ranks(found), _first_irrelevant(found)], axis=1) - 1
    best = np.empty((ranked.queries, 2), np.float32)
    rows = max(1, BLOCK_BYTES // (4 * max(1, ranked.depth)))
    with h5py.File(ranked.path, "r") as file:
        for begin in range(0, ranked.queries, rows):
            scores = file["scores"][begin : begin + rows]
            padded = np.pad(scores, ((0, 0), (0, 1)), constant_values=np.nan)
            best[begin : begin + rows] = np.take_along_axis(padded, np.minimum(places[begin : begin + rows], ranked.depth), axis=1)
    best[np.isneginf(best)] = np.nan  # lists that folding left shorter are filled up so
    return BestScores(best[:, 0], best[:, 1])


def _first_irrelevant(found: Found) -> np.ndarray:
    """int64 [Q]: the first rank that no relevant document has."""
    query, rank = found.query[found.new_place], found.rank[found.new_place]
    # A query's ranks ascend without repetition, so its i-th is i as long as there was no gap.
    number = np.arange(len(query)) - np.searchsorted(query, query) + 1
    return np.bincount(query[rank == number], minlength=len(found.relevant)) + 1
