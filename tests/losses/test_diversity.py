"""Negatives with weights: one kind that comes often counts as one kind."""

from __future__ import annotations

import math

import pytest
import torch

from losses.contrastive import InfoNCE
from losses.diversity_weights import DiversityWeights
from losses.weighted_negatives_contrast import WeightedNegativesContrast

QUERY = torch.tensor([[1.0, 0.0, 0.0]])
CANDIDATES = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 2.0, 0.0], [0.0, 3.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
"""The query's own, three of one kind, one of another, and one that is left out below."""
PRESENT = torch.tensor([True, True, True, True, True, False])
EXCLUDED = ~PRESENT[None]


def test_three_of_a_kind_weigh_a_third_each_at_power_one_and_what_is_absent_nothing() -> None:
    full, half, none = (DiversityWeights(power, bandwidth=0.01)(CANDIDATES, PRESENT) for power in (1.0, 0.5, 0.0))

    assert (full - full[0]).exp().tolist() == pytest.approx([1, 1 / 3, 1 / 3, 1 / 3, 1, (-full[0]).exp().item()])
    assert (half - half[0]).exp()[:5].tolist() == pytest.approx([1, 3**-0.5, 3**-0.5, 3**-0.5, 1])
    assert full[5] == half[5] == 0 and not none.any() and not full.requires_grad


def test_a_wide_kernel_takes_all_for_one_kind() -> None:
    weights = DiversityWeights(1.0, bandwidth=1e4)(CANDIDATES, PRESENT)

    assert weights[:5].exp().tolist() == pytest.approx([1] * 5, abs=1e-3)


def test_the_weighted_loss_is_that_worked_by_hand() -> None:
    weights = DiversityWeights(1.0, bandwidth=0.01)(CANDIDATES, PRESENT)

    found = WeightedNegativesContrast(0.5)(QUERY, CANDIDATES, torch.tensor([0]), EXCLUDED, weights)

    # Four negatives of weights 1/3, 1/3, 1/3, 1, which are divided by their mean, 1/2: either kind comes to 2. Cosines 1 | 0, -1 over .5.
    assert found.item() == pytest.approx(math.log(1 + 2 * math.exp(0 - 2) + 2 * math.exp(-2 - 2)), rel=1e-5)


def test_equal_weights_are_info_nce_for_any_batch_and_every_gradient() -> None:
    torch.manual_seed(0)
    query, candidates = torch.randn(5, 8, requires_grad=True), torch.randn(9, 8, requires_grad=True)
    target, excluded = torch.tensor([3, 1, 0, 8, 8]), torch.rand(5, 9) < 0.3

    plain = InfoNCE(0.1)(query, candidates, target, excluded=excluded)
    wanted = torch.autograd.grad(plain, (query, candidates))
    for weights in (None, torch.zeros(9), torch.full((9,), 2.5)):
        found = WeightedNegativesContrast(0.1)(query, candidates, target, excluded, weights)
        torch.testing.assert_close(found, plain)
        for one, other in zip(torch.autograd.grad(found, (query, candidates)), wanted, strict=True):
            torch.testing.assert_close(one, other)


def test_a_query_whose_candidates_are_all_excluded_costs_nothing() -> None:
    query = torch.randn(1, 4, requires_grad=True)
    excluded = torch.ones(1, 3, dtype=torch.bool)

    loss = WeightedNegativesContrast(0.1)(query, torch.randn(3, 4), torch.tensor([1]), excluded, torch.tensor([0.5, -1.0, 2.0]))
    loss.backward()

    assert loss.item() == 0 and query.grad is not None and not query.grad.any()


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"--system.diversity 1.5: a power from 0 .* to 1"):
        DiversityWeights(1.5)
    with pytest.raises(ValueError, match=r"--system.diversity_bandwidth 0"):
        DiversityWeights(0.5, 0)
    with pytest.raises(ValueError, match=r"temperature 0: it divides similarities"):
        WeightedNegativesContrast(0)
