"""Contrast with momentum distillation by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from losses.contrastive import InfoNCE
from losses.soft_contrast import TEMPERATURE_RANGE, SoftContrast


def inputs(seed: int = 0, *, queries: int = 3, candidates: int = 5) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(query, candidates, target, soft_query)"""
    generator = torch.Generator().manual_seed(seed)
    query, soft = torch.randn(2, queries, 4, generator=generator)
    return query.clone().requires_grad_(), torch.randn(candidates, 4, generator=generator).requires_grad_(), torch.arange(queries), soft.clone()


def test_the_loss_is_the_cross_entropy_of_the_mixed_target_worked_by_hand() -> None:
    query, soft_query = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.0, 9.0], [0.0, 4.0]])
    candidates = torch.tensor([[3.0, 0.0], [0.0, 5.0]])

    loss = SoftContrast(0.4)(query, candidates, torch.tensor([0, 0]), soft_query, candidates, 0.5)

    high, low = math.exp(2) / (math.exp(2) + 1), 1 / (math.exp(2) + 1)  # softmax of cosines 1 and 0 over .5
    # The momentum model finds candidate 1 for both; the first query finds its own, candidate 0, the second does not.
    first = -(0.6 + 0.4 * low) * math.log(high) - 0.4 * high * math.log(low)
    second = -(0.6 + 0.4 * low) * math.log(low) - 0.4 * high * math.log(high)
    assert loss.item() == pytest.approx((first + second) / 2, rel=1e-6)


def test_momentum_candidates_of_their_own_make_the_soft_target() -> None:
    query = torch.tensor([[1.0, 0.0]])
    candidates, soft_candidates = torch.eye(2), torch.tensor([[-1.0, 0.0], [1.0, 0.0]])

    loss = SoftContrast(1.0)(query, candidates, torch.tensor([0]), query, soft_candidates, 1.0)

    logs = [-math.log1p(math.exp(-1)), -1 - math.log1p(math.exp(-1))]  # of the student, cosines 1 and 0
    target = [1 / (1 + math.exp(2)), math.exp(2) / (1 + math.exp(2))]  # of the momentum model, cosines -1 and 1
    assert loss.item() == pytest.approx(-(target[0] * logs[0] + target[1] * logs[1]), rel=1e-6)


def test_candidates_that_are_momentum_features_already_are_given_once() -> None:
    query, candidates, target, soft_query = inputs()

    once = SoftContrast()(query, candidates, target, soft_query, temperature=0.1)
    twice = SoftContrast()(query, candidates, target, soft_query, 3 * candidates.detach(), 0.1)

    torch.testing.assert_close(once, twice)
    for ours, theirs in zip(torch.autograd.grad(once, [query, candidates]), torch.autograd.grad(twice, [query, candidates])):
        torch.testing.assert_close(ours, theirs)


def test_without_a_soft_target_it_is_info_nce_with_its_gradient() -> None:
    query, candidates, target, soft_query = inputs()
    excluded = torch.tensor([[True, True, False, False, True], [False] * 5, [False, False, False, False, True]])
    options = {"excluded": excluded, "weight": torch.tensor([0.2, 0.5, 0.1])}

    hard = InfoNCE(0.07)(query, candidates, target, **options)
    soft = SoftContrast(0.0)(query, candidates, target, soft_query, candidates, 0.07, **options)

    assert soft.item() == hard.item()
    for ours, theirs in zip(torch.autograd.grad(soft, [query, candidates]), torch.autograd.grad(hard, [query, candidates])):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)


def test_excluded_candidates_are_as_if_they_were_not_there_in_either_distribution() -> None:
    query, candidates, target, soft_query = inputs(queries=2, candidates=4)
    excluded = torch.tensor([[False, False, True, True]] * 2)

    masked = SoftContrast()(query, candidates, target, soft_query, candidates, 0.1, excluded=excluded)
    short = SoftContrast()(query, candidates[:2], target, soft_query, candidates[:2], 0.1)
    masked.backward()

    torch.testing.assert_close(masked, short)
    assert query.grad is not None and candidates.grad is not None
    assert torch.equal(candidates.grad[2:], torch.zeros(2, 4)) and candidates.grad[:2].abs().max() > 0
    assert query.grad.isfinite().all() and query.grad.abs().max() > 0


def test_the_target_always_stays_in_and_alone_costs_nothing() -> None:
    query, candidates, target, soft_query = inputs()

    loss = SoftContrast()(query, candidates, target, soft_query, candidates, 0.1, excluded=torch.ones(3, 5, dtype=torch.bool))
    loss.backward()

    assert loss.item() == 0
    assert query.grad is not None and query.grad.abs().max() == 0


def test_the_momentum_side_gets_no_gradient_and_a_learned_temperature_that_of_the_student() -> None:
    query, candidates, target, soft_query = inputs()
    soft_query.requires_grad_()
    soft_candidates = torch.randn(5, 4, requires_grad=True)
    temperature = torch.tensor(0.3, requires_grad=True)
    loss = SoftContrast(0.4)

    loss(query, candidates, target, soft_query, soft_candidates, temperature).backward()

    assert soft_query.grad is None and soft_candidates.grad is None
    assert temperature.grad is not None
    cosines, soft = (
        torch.nn.functional.normalize(one.detach().double()) @ torch.nn.functional.normalize(other.detach().double()).T
        for one, other in ((query, candidates), (soft_query, soft_candidates))
    )
    wanted = 0.6 * torch.eye(3, 5) + 0.4 * (soft / 0.3).softmax(dim=1)

    def student(value: float) -> float:
        return -(wanted * (cosines / value).log_softmax(dim=1)).sum(dim=1).mean().item()

    assert temperature.grad.item() == pytest.approx((student(0.3 + 1e-5) - student(0.3 - 1e-5)) / 2e-5, rel=1e-4)


def test_a_student_that_agrees_with_the_momentum_model_is_left_where_it_is() -> None:
    query, candidates, target, _ = inputs()
    still, pulled = (
        torch.autograd.grad(SoftContrast(alpha)(query, candidates, target, query.detach(), candidates, 0.1), query)[0] for alpha in (1.0, 0.5)
    )

    assert still.abs().max() < 1e-6 < pulled.abs().max()


def test_weights_of_parts_add_up_to_the_mean_of_the_whole() -> None:
    query, candidates, target, soft_query = inputs()

    whole = SoftContrast()(query, candidates, target, soft_query, candidates, 0.1)
    parts = [
        SoftContrast()(query[part], candidates, target[part], soft_query[part], candidates, 0.1, weight=torch.full((len(target[part]),), 1 / 3))
        for part in (slice(0, 1), slice(1, 3))
    ]

    torch.testing.assert_close(parts[0] + parts[1], whole)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("temperature", TEMPERATURE_RANGE)
def test_logits_are_float32_under_autocast_and_in_half_precision(dtype: torch.dtype, temperature: float) -> None:
    query, candidates, target, soft_query = (value.detach() for value in inputs())
    query, candidates, soft_query = (value.to(dtype) for value in (query, candidates, soft_query))
    expected = SoftContrast()(query.float(), candidates.float(), target, soft_query.float(), candidates.float(), temperature)

    with torch.autocast("cpu", dtype=dtype):
        loss = SoftContrast()(query, candidates, target, soft_query, candidates, torch.tensor(temperature))

    assert loss.dtype == torch.float32 and loss.isfinite()
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("alpha", [-0.1, 1.5, float("nan")])
def test_a_share_outside_0_to_1_is_refused(alpha: float) -> None:
    with pytest.raises(ValueError, match=f"alpha {alpha}"):
        SoftContrast(alpha)
