from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch

from evaluate.engines.keys import NOTHING, PARTED_AT_ONCE, keys_of, merge_ragged, parted, rows_of, scores_of
from evaluate.engines.pairs import longest_of, pair_products
from evaluate.engines.rounding import HALVES, Margin, half_margin, plain_margin

SHAPES = [(30, 200, 3), (30, 200, 64), (10, 60, 2000)]


def draw(queries: int, docs: int, dim: int, same_sign: bool) -> tuple[np.ndarray, np.ndarray]:
    """Lengths from 0.01 to 100; of one sign, so that errors add up, or of both."""
    random = np.random.default_rng(dim + same_sign)
    sides = [random.standard_normal((rows, dim)) * 10 ** random.uniform(-2, 2, (rows, 1)) for rows in (queries, docs)]
    one, other = (np.abs(side) if same_sign else side for side in sides)
    return one.astype(np.float32), other.astype(np.float32)


def lengths(rows: np.ndarray) -> np.ndarray:
    return np.linalg.norm(rows.astype(np.float64), axis=1)


@pytest.mark.parametrize("same_sign", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("half", ["float32", *HALVES])
def test_no_product_is_off_by_more_than_the_bound_and_the_bound_is_no_fable(half, shape, same_sign):
    queries, docs = draw(*shape, same_sign)
    rounded = [torch.from_numpy(side).to(getattr(torch, half)) for side in (queries, docs)]
    residuals = [lengths(side - low.float().numpy()) for side, low in zip((queries, docs), rounded)]
    given = (rounded[0] @ rounded[1].T).float().numpy().astype(np.float64)
    pairs = np.divmod(np.arange(given.size), len(docs))
    ours = pair_products(queries, *[pairs[0], docs, pairs[1]]).reshape(given.shape)
    exact = queries.astype(np.float64) @ docs.T.astype(np.float64)

    longest = longest_of(docs)
    margin = plain_margin(lengths(queries), longest, shape[2])
    if half != "float32":
        margin = half_margin(lengths(queries), residuals[0], longest, float(residuals[1].max()), shape[2], half)

    allowed = margin.fixed[:, None] + margin.relative * np.abs(given)
    assert (np.abs(given - ours) <= allowed).all() and (np.abs(ours - exact) <= allowed).all()
    assert (margin.fixed < 0.2 * lengths(queries) * longest).all()


def test_a_floor_lets_everything_through_that_may_be_as_good():
    margin = Margin(np.array([0.5, 0.5, 0.5]), 0.25)

    # |8 - s| <= 0.5 + 2: s is at least 5.5, and what is at most 4 in this arithmetic is below that, 4 + 1 + 0.5.
    np.testing.assert_allclose(margin.floor_of_scores(np.array([8, -8, -np.inf], np.float32)), [4, -14.66666, -np.inf], rtol=1e-5)
    np.testing.assert_allclose(margin.floor(np.array([5.5, -10.5, -np.inf], np.float32)), [4, -14.66666, -np.inf], rtol=1e-5)
    assert (margin.floor(np.array([5.5, -10.5, 1], np.float32)) < [4, -14.66666, 0.4]).all()
    assert margin.of(np.array([1])).fixed.tolist() == [0.5]


def test_keys_sort_by_score_descending_then_row_and_give_both_back():
    scores = np.array([-np.inf, -1.5, -0.0, 0.0, 1e-40, 2.5, 3e38], np.float32)
    rows = np.array([7, 2**32 - 1, 5, 4, 0, 1, 2])

    keys = keys_of(scores, rows)

    assert np.argsort(keys).tolist() == [6, 5, 4, 3, 2, 1, 0]  # 0 and -0 are equal, row 4 comes before row 5
    np.testing.assert_array_equal(scores_of(keys), scores)
    np.testing.assert_array_equal(rows_of(keys), rows)
    assert (scores_of(np.array([NOTHING]))[0], rows_of(np.array([NOTHING]))[0]) == (-np.inf, -1)


def test_scores_and_rows_are_parted_in_the_memory_of_the_keys():
    scores, rows = np.random.default_rng(0).standard_normal((6_000, 1_000), np.float32), np.tile(np.arange(1_000), (6_000, 1))
    keys = keys_of(scores, rows)
    keys[5, 990:] = NOTHING
    scores[5, 990:], rows[5, 990:] = -np.inf, -1

    tracemalloc.start()
    try:
        ours = parted(keys)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    np.testing.assert_array_equal(ours[0], scores)
    np.testing.assert_array_equal(ours[1], rows)
    assert ours[1] is keys and peak < 4 * keys.size + 32 * PARTED_AT_ONCE  # both at once: 20 bytes a result, 120 MB


def test_ragged_lists_are_merged_by_query():
    best = np.array([[1, 5], [2, 3], [NOTHING, NOTHING]])

    merge_ragged(best, np.array([4, 2, 9, 8]), np.array([2, 0, 2]))

    assert best.tolist() == [[1, 2], [2, 3], [8, 9]]
