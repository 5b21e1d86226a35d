"""Score and row as one number that sorts as a whole: score descending, equal scores by row ascending. Lists are merged by sorting them.

A key is int64: (score, turned so that a better one is smaller) * 2^32 + row. Legend: Q queries, k results a query, n keys in all.
"""

from __future__ import annotations

import numpy as np

NOTHING = np.int64(0x7FFF_FFFF_FFFF_FFFF)
"""Stands past the last document of a list; any document's key is smaller."""
MOST_ROWS = 2**32
PARTED_AT_ONCE = 1 << 20


def keys_of(scores: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """int64 keys of float32 `scores`, none of them NaN, and `rows` of the same shape, at most 2^32 - 1."""
    # Adding 0 makes -0 into 0. A float's bits sort as its value does once all but the sign of negative ones are turned over.
    bits = (scores + np.float32(0)).view(np.int32)
    ascending = bits ^ ((bits >> 31) & np.int32(0x7FFFFFFF))
    keys = (~ascending).astype(np.int64)
    keys <<= 32
    keys |= rows
    return keys


def scores_of(keys: np.ndarray) -> np.ndarray:
    """float32 scores of `keys`; -inf for NOTHING."""
    ascending = ~(keys >> 32).astype(np.int32)
    scores = (ascending ^ ((ascending >> 31) & np.int32(0x7FFFFFFF))).view(np.float32)
    scores[keys == NOTHING] = -np.inf
    return scores


def rows_of(keys: np.ndarray) -> np.ndarray:
    """int64 rows of `keys`; -1 for NOTHING."""
    rows = keys & np.int64(0xFFFF_FFFF)
    rows[keys == NOTHING] = -1
    return rows


def parted(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(scores float32 [Q, k], rows int64 [Q, k]) of `keys` [Q, k], whose memory the rows take: 4 bytes more a result, not 20."""
    scores, step = np.empty(keys.shape, np.float32), max(1, PARTED_AT_ONCE // max(1, keys.shape[1]))
    for first in range(0, len(keys), step):
        some = keys[first : first + step]
        scores[first : first + step] = scores_of(some)
        some[:] = rows_of(some)
    return scores, keys


def merge(best: np.ndarray, others: np.ndarray) -> None:
    """Put the k smallest of `best` [Q, k] (sorted) and `others` [Q, m] into `best`, sorted."""
    together = np.concatenate([best, others], axis=1)
    together.sort(axis=1)
    best[:] = together[:, : best.shape[1]]


def merge_ragged(best: np.ndarray, others: np.ndarray, counts: np.ndarray) -> None:
    """As `merge`, where query q has `counts[q]` of `others` [n], which are ordered by query."""
    k, end = best.shape[1], 0
    for own, count in zip(best, counts.tolist()):
        if count:
            together = np.concatenate([own, others[end : end + count]])
            together.sort()
            own[:] = together[:k]
            end += count
