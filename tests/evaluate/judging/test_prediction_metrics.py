"""MAE, nMSE and Spearman of predicted numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import spearmanr

from evaluate.judging.prediction_metrics import batched_metrics, mean_ranks, prediction_metrics, spearman

NAMES = ("mae", "nmse", "spearman")


def slow_ranks(values: list[float]) -> list[float]:
    """The slow obvious twin: how many are below, and the mean place among one's equals."""
    return [sum(other < value for other in values) + (1 + sum(other == value for other in values)) / 2 for value in values]


def slow_spearman(first: list[float], second: list[float]) -> float:
    a, b = slow_ranks(first), slow_ranks(second)
    mean_a, mean_b = sum(a) / len(a), sum(b) / len(b)
    product = sum((x - mean_a) * (y - mean_b) for x, y in zip(a, b))
    return product / math.sqrt(sum((x - mean_a) ** 2 for x in a) * sum((y - mean_b) ** 2 for y in b))


def test_numbers_worked_by_hand() -> None:
    found = prediction_metrics(np.array([1.0, 2.0, 5.0, 4.0]), np.array([1.0, 3.0, 3.0, 5.0]))

    # errors 0, 1, 2, 1; the labels' variance is 2; ranks 1 2 4 3 and 1 2.5 2.5 4: products 3 over sqrt(5 * 4.5)
    assert found == pytest.approx({"mae": 1.0, "nmse": 1.5 / 2, "spearman": 3 / math.sqrt(22.5)})


def test_the_mean_of_the_labels_has_an_nmse_of_one_and_a_perfect_prediction_of_zero() -> None:
    true = np.random.default_rng(0).lognormal(size=50)

    mean, perfect = prediction_metrics(np.full(50, true.mean()), true), prediction_metrics(true, true)

    assert mean["nmse"] == pytest.approx(1) and math.isnan(mean["spearman"])
    assert perfect == pytest.approx({"mae": 0, "nmse": 0, "spearman": 1})


@pytest.mark.parametrize("levels", [2, 5, 40, 10**6])
def test_spearman_agrees_with_its_slow_twin_and_with_scipy_ties_or_not(levels: int) -> None:
    draw = np.random.default_rng(levels)
    for _ in range(5):
        first, second = draw.integers(0, levels, 60).astype(float), draw.integers(0, levels, 60).astype(float)
        second += first

        found = spearman(first, second)

        assert found == pytest.approx(slow_spearman(first.tolist(), second.tolist()), abs=1e-12)
        assert found == pytest.approx(spearmanr(first, second).statistic, abs=1e-12)
        assert mean_ranks(first).tolist() == slow_ranks(first.tolist())


def test_only_the_order_counts_for_spearman() -> None:
    first = np.array([3.0, -1.0, 0.5, 2.0])

    assert spearman(first, np.exp(first)) == 1 and spearman(first, -(first**3)) == -1


def test_batches_are_averaged_the_last_as_much_as_any() -> None:
    draw = np.random.default_rng(1)
    predicted, true = draw.normal(size=600), draw.normal(size=600)

    found = batched_metrics(predicted, true)

    parts = [prediction_metrics(predicted[first:last], true[first:last]) for first, last in ((0, 256), (256, 512), (512, 600))]
    assert found == pytest.approx({f"{name}_by_256": sum(part[name] for part in parts) / 3 for name in NAMES})
    whole = prediction_metrics(predicted, true)
    assert all(found[f"{name}_by_256"] != pytest.approx(whole[name], rel=1e-6) for name in NAMES)
    assert batched_metrics(predicted, true, size=600) == pytest.approx({f"{name}_by_600": whole[name] for name in NAMES})


def test_what_is_not_defined_is_nan_without_a_warning() -> None:
    with np.errstate(all="raise"):
        equal = prediction_metrics(np.array([1.0, 2.0, 4.0]), np.full(3, 0.1))
        last_alone = batched_metrics(np.arange(257.0), np.arange(257.0) + 1)

    assert equal["mae"] == pytest.approx(6.7 / 3) and math.isnan(equal["nmse"]) and math.isnan(equal["spearman"])
    assert last_alone["mae_by_256"] == 1 and math.isnan(last_alone["spearman_by_256"])


def test_columns_and_half_precision_are_read_as_numbers() -> None:
    predicted, true = np.array([[1.0], [2.0], [4.0]], np.float16), np.array([1.0, 2.0, 3.0], np.float32)

    assert prediction_metrics(predicted, true)["mae"] == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("predicted", "true", "message"),
    [
        ([1.0, 2.0], [1.0], "2 predictions for 1 true values"),
        ([], [], "no items"),
        ([1.0, math.nan, math.inf], [1.0, 2.0, 3.0], "2 of 3 predictions are not finite, the first is item 1: nan"),
        ([1.0, 2.0], [1.0, -math.inf], "1 of 2 true values are not finite, the first is item 1: -inf"),
    ],
)
def test_what_cannot_be_compared_is_named(predicted: list[float], true: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        prediction_metrics(np.array(predicted), np.array(true))
