"""Lists without near-identical documents: of those whose cosine is above a threshold only the best-ranked stays.

A list is walked from the best document on. A document whose cosine with one kept so far is above the threshold is folded into the
best-ranked such; any other is kept, until k are. So the list holds k documents no two of which are near-identical, and what it holds follows
from the ranking and the threshold alone. What stands behind the last kept document is neither kept nor folded.

Legend: Q queries, C candidates of a query, k results a query, U different documents among all candidates, D width.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from evaluate.ranked import Folded
from evaluate.vectors import Vectors

CANDIDATES_AT_ONCE = 256
HEAD = 64
"""Numbers of a vector that are compared before all of it is."""
ROUNDING = 1e-4
"""More than float32 sums of a few thousand products of unit vectors are off by."""
MEMORY_BYTES = 1 << 29


class Distinct(NamedTuple):
    """scores float32 [Q, k] and rows int64 [Q, k] of the documents, best first, -inf and -1 where a list is shorter; what was folded."""

    scores: np.ndarray
    rows: np.ndarray
    folded: Folded


def distinct_lists(
    best: Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]], queries: int, docs: Vectors, k: int, threshold: float, scratch: str | Path
) -> Distinct:
    """The best `k` documents of each query no two of which have a cosine above `threshold`.

    Args:
        best: (queries int64 [q], C) -> (scores, rows) [q, C] of their best C documents; asked for more where k are not found among C.
        queries: Q.
        docs: what is searched among; passed through once more for each time that `best` is asked.
        scratch: folder for the candidates' vectors where they are more than 512 MiB; nothing is left there.

    Raises ValueError for a threshold that is not between 0 and 1.
    """
    if not 0 < threshold < 1:
        raise ValueError(f"--dedup {threshold}: a cosine between 0 and 1, e.g. 0.98; documents above it are taken for the same")
    scores, rows = np.full((queries, k), -np.inf, np.float32), np.full((queries, k), -1)
    folded: list[np.ndarray] = [np.zeros((0, 3), np.int64)]
    pending, depth = np.arange(queries), min(2 * k, len(docs))
    while len(pending):
        own_scores, own_rows = best(pending, depth)
        used, places = np.unique(own_rows, return_inverse=True)
        places = places.reshape(own_rows.shape)
        unit = _unit_vectors(docs, used, Path(scratch))
        short = []
        for number, query in enumerate(pending.tolist()):
            kept, gone, stands_in = keep_distinct(unit, places[number], k, threshold)
            if len(kept) < k and depth < len(docs):
                short.append(query)
                continue
            scores[query, : len(kept)], rows[query, : len(kept)] = own_scores[number, kept], own_rows[number, kept]
            folded.append(np.stack([np.full(len(gone), query), own_rows[number, gone], stands_in], axis=1))
        pending, depth = np.array(short, np.int64), min(2 * depth, len(docs))
    # Later rounds found the lists of earlier queries.
    together = np.concatenate(folded)
    return Distinct(scores, rows, Folded(*together[np.argsort(together[:, 0], kind="stable")].T))


def keep_distinct(unit: np.ndarray, candidates: np.ndarray, k: int, threshold: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(kept [<= k], folded, place among the kept of what stands for each folded): places int64 in a query's `candidates`.

    Args:
        unit: float32 [U, D], rows of length 1.
        candidates: int64 [C], the query's documents as rows of `unit`, best first.
    """
    kept: list[int] = []
    folded: list[int] = []
    stands_in: list[int] = []
    kept_heads, kept_tails = np.zeros((0, min(HEAD, unit.shape[1])), np.float32), np.zeros(0, np.float32)
    for first in range(0, len(candidates), CANDIDATES_AT_ONCE):
        rows = candidates[first : first + CANDIDATES_AT_ONCE]
        piece, earlier = unit[rows], len(kept)
        heads, tails = piece[:, :HEAD], np.linalg.norm(piece[:, HEAD:], axis=1)
        # Columns: the documents kept before this piece, then the piece itself, of which only those in front of a row count.
        columns = np.concatenate([candidates[kept], rows])
        # a.b is at most the product of the heads plus that of the tails' lengths, which for nearly all pairs is too little: a tenth of the work.
        most = heads @ np.concatenate([kept_heads, heads]).T + np.outer(tails, np.concatenate([kept_tails, tails]))
        near = (most > threshold - ROUNDING) & np.tri(len(rows), len(columns), earlier - 1, dtype=bool)
        some, others = np.flatnonzero(near.any(axis=1)), np.flatnonzero(near.any(axis=0))
        near[np.ix_(some, others)] &= piece[some] @ unit[columns[others]].T > threshold
        place_of = np.concatenate([np.arange(earlier), np.full(len(rows), -1)])
        touched = near.any(axis=1)
        for row in range(len(rows)):
            if len(kept) == k:
                break
            if touched[row] and len(stand_ins := (own := place_of[near[row]])[own >= 0]):
                folded.append(first + row)
                stands_in.append(int(stand_ins.min()))
            else:
                place_of[earlier + row] = len(kept)
                kept.append(first + row)
        if len(kept) == k:
            break
        own = place_of[earlier:] >= 0
        kept_heads, kept_tails = np.concatenate([kept_heads, heads[own]]), np.concatenate([kept_tails, tails[own]])
    return np.array(kept, np.int64), np.array(folded, np.int64), np.array(stands_in, np.int64)


def _unit_vectors(docs: Vectors, rows: np.ndarray, scratch: Path) -> np.ndarray:
    """float32 [U, D]: the documents `rows` (ascending), scaled to length 1 (0 where it is 0), in a file if they are many."""
    shape = (len(rows), docs.dim)
    block_rows = max(1, MEMORY_BYTES // (8 * docs.dim))
    if 4 * len(rows) * docs.dim <= MEMORY_BYTES:
        unit = np.empty(shape, np.float32)
    else:
        scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=scratch) as file:  # the mapping keeps it until it goes, too
            unit = np.memmap(file, np.float32, "w+", shape=shape)  # type: ignore[call-overload]
    for first, block in docs.blocks(block_rows):
        begin, end = np.searchsorted(rows, (first, first + len(block)))
        chosen = block[rows[begin:end] - first]
        lengths = np.linalg.norm(chosen, axis=1, keepdims=True)
        unit[begin:end] = np.divide(chosen, lengths, out=np.zeros_like(chosen), where=lengths > 0)
        del block
    return unit
