"""Metrics of predicted numbers (popularity) against true ones.

Legend: N items.
"""

from __future__ import annotations

import numpy as np

RELEASED_BATCH = 256


def prediction_metrics(predicted: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """{"mae", "nmse", "spearman"} over the whole set, each as the function of its name says.

    Args:
        predicted, true: [N] or [N, 1], in the same order.

    Raises:
        ValueError: different numbers of the two, none at all, or a value that is not finite.
    """
    predicted, true = _columns(predicted, true)
    return {"mae": mae(predicted, true), "nmse": nmse(predicted, true), "spearman": spearman(predicted, true)}


def batched_metrics(predicted: np.ndarray, true: np.ndarray, size: int = RELEASED_BATCH) -> dict[str, float]:
    """{"mae_by_256", "nmse_by_256", "spearman_by_256"}: each metric of every `size` items in a row, averaged; the last batch, which may be
    smaller, counts as much as any.

    As MMRA's program reports its results. MAE is little changed by that; nMSE divides by each batch's own variance, and Spearman ranks
    within a batch: they depend on the order of the items, and are nan where one batch is too small or too uniform to have them. For
    comparison with its tables alone; arguments and errors as of `prediction_metrics`.
    """
    predicted, true = _columns(predicted, true)
    starts = range(0, len(true), size)
    batches = [prediction_metrics(predicted[first : first + size], true[first : first + size]) for first in starts]
    return {f"{name}_by_{size}": float(np.mean([batch[name] for batch in batches])) for name in batches[0]}


def mae(predicted: np.ndarray, true: np.ndarray) -> float:
    """mean |p - y|."""
    return float(np.abs(predicted - true).mean())


def nmse(predicted: np.ndarray, true: np.ndarray) -> float:
    """mean (p - y)^2 / mean (y - mean y)^2: 1 is what the mean of the true values has, 0 is perfect; nan where they are all equal.

    Source: MMRA as released.
    """
    spread = true.var() if np.ptp(true) else np.nan  # the variance of equal numbers may be a last bit above 0
    return float(np.square(predicted - true).mean() / spread)


def spearman(predicted: np.ndarray, true: np.ndarray) -> float:
    """Spearman's rank correlation: the linear correlation of ranks, equal values sharing the mean of theirs; nan where all of a side are equal.

    Source: Spearman 1904, in the form that ties need.
    """
    first, second = (ranks - ranks.mean() for ranks in (mean_ranks(predicted), mean_ranks(true)))
    length = np.sqrt(np.square(first).sum() * np.square(second).sum())
    return float(np.clip(first @ second / length, -1, 1)) if length else float("nan")


def mean_ranks(values: np.ndarray) -> np.ndarray:
    """float64 [N]: ranks from 1 in ascending order; equal values have the mean of the ranks that they take up together."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[which]


def _columns(predicted: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64 [N]."""
    columns = tuple(np.asarray(values, np.float64).reshape(-1) for values in (predicted, true))
    if len(columns[0]) != len(columns[1]):
        raise ValueError(f"{len(columns[0])} predictions for {len(columns[1])} true values: give one for each, in the same order")
    if not len(columns[0]):
        raise ValueError("no items: nothing to evaluate")
    for name, values in zip(("prediction", "true value"), columns):
        if len(bad := np.flatnonzero(~np.isfinite(values))):
            raise ValueError(f"{len(bad)} of {len(values)} {name}s are not finite, the first is item {bad[0]}: {values[bad[0]]}")
    return columns[0], columns[1]
