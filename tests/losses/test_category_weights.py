"""Weights of negatives by their categories, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from losses.category_weights import CategoryWeights, category_distances, upper_centroids

UPPER = (0, 0, 1)
CENTROIDS = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 3.0]])
FULL = torch.tensor([4, 4, 4])
FAR = math.sqrt(13)
"""From the second to the third centroid."""


def norm(*values: float) -> float:
    return math.sqrt(sum(value**2 for value in values))


def test_distances_are_euclidean_with_a_millionth_added_to_each_difference() -> None:
    distances = category_distances(CENTROIDS)

    torch.testing.assert_close(distances, torch.tensor([[0, 2, 3], [2, 0, FAR], [3, FAR, 0]]), rtol=0, atol=2e-6)
    torch.testing.assert_close(distances.diagonal(), torch.full((3,), math.sqrt(2) * 1e-6))
    torch.testing.assert_close(distances, torch.pairwise_distance(CENTROIDS[:, None].expand(3, 3, 2), CENTROIDS[None].expand(3, 3, 2)))


def test_intended_weights_fall_with_the_distance_of_both_levels() -> None:
    weights = CategoryWeights(UPPER, "intended")(CENTROIDS, FULL)

    e = math.exp
    rows = [norm(1, e(2), e(3)), norm(e(2), 1, e(FAR)), norm(e(3), e(FAR), 1)]
    upper = math.sqrt(10)  # from (1, 0), the mean of the first two, to (0, 3)
    y1 = e(upper) / norm(1, e(upper))
    expected = [
        [1, 1 - e(2) / rows[0], 1 - y1 - e(3) / rows[0]],
        [1 - e(2) / rows[1], 1, 1 - y1 - e(FAR) / rows[1]],
        [1 - y1 - e(3) / rows[2], 1 - y1 - e(FAR) / rows[2], 1],
    ]
    torch.testing.assert_close(weights, torch.tensor(expected), rtol=1e-5, atol=1e-5)


def test_released_weights_know_no_upper_level_and_are_normalised_over_all_slots() -> None:
    weights = CategoryWeights(UPPER, "released")(CENTROIDS, torch.tensor([4, 4, 2]))

    first = math.sqrt(4 * 1 + 4 * math.exp(4) + 2 * math.exp(6))
    torch.testing.assert_close(weights[0], torch.tensor([1, 1 - math.exp(2) / first, 1 - math.exp(3) / first]), rtol=1e-5, atol=1e-5)
    assert weights.diagonal().tolist() == [1, 1, 1]


def test_no_weighting_weighs_nothing() -> None:
    assert CategoryWeights(UPPER, "none")(CENTROIDS, FULL).tolist() == [[1, 1, 1]] * 3


@pytest.mark.parametrize("weighting", ["intended", "released"])
def test_an_empty_category_takes_no_part_and_its_own_anchors_know_no_middle_distance(weighting) -> None:
    centroids, slots = CENTROIDS.clone(), torch.tensor([4, 0, 4])
    centroids[1] = 0  # what an empty queue gives
    moved = centroids.clone()
    moved[1] = 50

    weights = CategoryWeights(UPPER, weighting)(centroids, slots)

    assert torch.equal(weights, CategoryWeights(UPPER, weighting)(moved, slots))
    without = CategoryWeights((0, 1), weighting)(centroids[[0, 2]], slots[[0, 2]])
    torch.testing.assert_close(weights[[0, 2]][:, [0, 2]], without)
    upper = math.exp(3) / norm(1, math.exp(3)) if weighting == "intended" else 0
    torch.testing.assert_close(weights[1], torch.tensor([1.0, 1.0, 1 - upper]), rtol=1e-5, atol=1e-5)


def test_with_no_rows_at_all_every_weight_is_one() -> None:
    assert CategoryWeights(UPPER, "intended")(torch.zeros(3, 2), torch.zeros(3, dtype=torch.long)).tolist() == [[1, 1, 1]] * 3


def test_an_upper_centroid_is_the_mean_of_its_middle_ones_that_count() -> None:
    upper = torch.tensor([0, 0, 1, -1])
    centroids = torch.tensor([[0.0, 4.0], [2.0, 0.0], [5.0, 5.0], [7.0, 7.0]])
    slots = torch.tensor([1, 9, 1, 1])

    plain, _ = upper_centroids(centroids, slots, upper, 2)
    left_out, has_rows = upper_centroids(centroids, slots, upper, 2, left_out=(1, 2))

    assert plain.tolist() == [[1, 2], [5, 5]]  # each middle one counts alike, however many rows it has
    assert left_out.tolist() == [[0, 4], [0, 0]] and has_rows.tolist() == [True, False]
