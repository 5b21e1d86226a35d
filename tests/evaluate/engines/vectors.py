"""Vectors for the tests of engines, and the slow obvious way to search them."""

from __future__ import annotations

import numpy as np


def brute_force(queries: np.ndarray, docs: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """(scores, rows): all scores in float64, sorted by score descending, then row."""
    scores = queries.astype(np.float64) @ docs.T.astype(np.float64)
    rows = np.array([sorted(range(len(docs)), key=lambda row: (-own[row], row))[:k] for own in scores])
    return np.take_along_axis(scores, rows, axis=1), rows


def few_values(*shape: int) -> np.ndarray:
    """Small whole numbers: sums of their products are exact, and many are equal."""
    return np.random.default_rng(sum(shape)).integers(-2, 3, shape).astype(np.float32)


def real_values(*shape: int) -> np.ndarray:
    """Unit vectors around a few centres, in the order of the centres, as a corpus in the order of its categories is."""
    draw = np.random.default_rng(sum(shape))
    rows = draw.standard_normal(shape) + 1.5 * draw.standard_normal((8, shape[1]))[np.sort(draw.integers(0, 8, shape[0]))]
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
