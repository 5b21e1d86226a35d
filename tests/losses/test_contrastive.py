"""InfoNCE by hand."""

from __future__ import annotations

import math

import pytest
import torch

from losses.contrastive import InfoNCE


def test_the_loss_is_the_cross_entropy_worked_by_hand() -> None:
    query = torch.tensor([[2.0, 0.0], [0.0, 3.0]])
    candidates = torch.tensor([[0.0, 5.0], [1.0, 0.0], [-4.0, 0.0]])
    target = torch.tensor([1, 0])

    cosines = InfoNCE(0.5)(query, candidates, target)
    products = InfoNCE(1.0, normalise=False)(query, candidates, target)

    first = -math.log(math.exp(2) / (math.exp(2) + math.exp(0) + math.exp(-2)))  # cosines 0, 1, -1 over .5
    second = -math.log(math.exp(2) / (math.exp(2) + 2 * math.exp(0)))  # cosines 1, 0, 0 over .5
    assert cosines.item() == pytest.approx((first + second) / 2, rel=1e-5)
    first = -math.log(math.exp(2) / (math.exp(2) + math.exp(0) + math.exp(-8)))
    second = -math.log(math.exp(15) / (math.exp(15) + 2 * math.exp(0)))
    assert products.item() == pytest.approx((first + second) / 2, rel=1e-5)


def test_an_excluded_candidate_is_as_if_it_were_not_there_and_the_target_always_is() -> None:
    torch.manual_seed(0)
    query, candidates = torch.randn(1, 4), torch.randn(3, 4)
    without_last = InfoNCE()(query, candidates[:2], torch.tensor([0]))

    masked = InfoNCE()(query, candidates, torch.tensor([0]), excluded=torch.tensor([[True, False, True]]))
    all_masked = InfoNCE()(query, candidates, torch.tensor([0]), excluded=torch.ones(1, 3, dtype=torch.bool))

    torch.testing.assert_close(masked, without_last)
    assert all_masked.item() == 0


def test_excluded_candidates_get_no_gradient() -> None:
    torch.manual_seed(0)
    query, candidates = torch.randn(2, 4, requires_grad=True), torch.randn(3, 4, requires_grad=True)
    excluded = torch.tensor([[False, False, True], [False, False, True]])

    InfoNCE()(query, candidates, torch.tensor([0, 1]), excluded=excluded).backward()

    assert candidates.grad is not None and query.grad is not None
    assert torch.equal(candidates.grad[2], torch.zeros(4))
    assert candidates.grad[:2].abs().min() > 0 and query.grad.isfinite().all()


def test_weights_of_parts_add_up_to_the_mean_of_the_whole() -> None:
    torch.manual_seed(0)
    query, candidates, target = torch.randn(5, 8), torch.randn(9, 8), torch.randint(9, (5,))
    weight = torch.full((5,), 1 / 5)

    whole = InfoNCE()(query, candidates, target)
    parts = sum(InfoNCE()(query[rows], candidates, target[rows], weight=weight[rows]) for rows in (slice(0, 2), slice(2, 5)))

    torch.testing.assert_close(parts, whole)


def test_a_row_of_weight_zero_says_nothing() -> None:
    torch.manual_seed(0)
    query, candidates, target = torch.randn(3, 8, requires_grad=True), torch.randn(3, 8), torch.arange(3)

    InfoNCE()(query, candidates, target, weight=torch.tensor([0.5, 0.5, 0.0])).backward()

    assert query.grad is not None
    assert query.grad[2].abs().max() == 0 and query.grad[0].abs().max() > 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_logits_are_float32_under_autocast_and_in_half_precision(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    query, candidates = torch.randn(4, 16).to(dtype) * 100, torch.randn(6, 16).to(dtype) * 100
    expected = InfoNCE(0.01, normalise=False)(query.float(), candidates.float(), torch.arange(4))

    with torch.autocast("cpu", dtype=dtype):
        loss = InfoNCE(0.01, normalise=False)(query, candidates, torch.arange(4))

    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, expected)


def test_a_temperature_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="temperature 0"):
        InfoNCE(0)
