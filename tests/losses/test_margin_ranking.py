"""Margin ranking by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from losses.margin_ranking import MarginRanking

QUERY = torch.tensor([[5.0, 0.0], [0.0, 2.0]])
CANDIDATES = torch.tensor([[3.0, 4.0], [4.0, 3.0], [0.0, -7.0]])
"""cosines with the queries: .6, .8, 0 and .8, .6, -1"""
TARGET = torch.tensor([0, 0])


@pytest.mark.parametrize(
    ("hardest", "margin", "first", "second"),
    [
        (True, 0.3, 0.3 + 0.8 - 0.6, 0.3 + 0.6 - 0.8),
        (False, 0.3, (0.5 + 0.0) / 2, (0.1 + 0.0) / 2),  # behind by .6 and by 1.8 already: nothing
        (True, 0.9, 1.1, 0.7),
        (False, 0.9, (1.1 + 0.3) / 2, 0.7 / 2),
        (True, 0.0, 0.2, 0.0),
    ],
)
def test_the_loss_is_the_hinge_worked_by_hand(hardest: bool, margin: float, first: float, second: float) -> None:
    loss = MarginRanking(margin, hardest=hardest)

    assert loss(QUERY, CANDIDATES, TARGET).item() == pytest.approx((first + second) / 2, abs=1e-6)
    assert loss(QUERY, CANDIDATES, TARGET, weight=torch.tensor([0.25, 2.0])).item() == pytest.approx(0.25 * first + 2 * second, abs=1e-6)


def test_the_defaults_are_a_margin_of_a_fifth_and_the_hardest_negative() -> None:
    assert MarginRanking()(QUERY, CANDIDATES, TARGET).item() == pytest.approx((0.4 + 0.0) / 2)


@pytest.mark.parametrize("hardest", [True, False])
def test_an_excluded_candidate_is_as_if_it_were_not_there(hardest: bool) -> None:
    excluded = torch.tensor([[True, True, False], [True, True, False]])  # excluding the target itself changes nothing
    loss = MarginRanking(0.9, hardest=hardest)

    masked = loss(QUERY, CANDIDATES, TARGET, excluded=excluded)

    torch.testing.assert_close(masked, loss(QUERY, CANDIDATES[[0, 2]], TARGET))
    assert masked.item() == pytest.approx((0.3 + 0.0) / 2)


def gradients(loss: MarginRanking, **options: Tensor) -> tuple[Tensor, Tensor]:
    query, candidates = QUERY.clone().requires_grad_(), CANDIDATES.clone().requires_grad_()
    value = loss(query, candidates, TARGET, **options)
    return torch.autograd.grad(value, [query, candidates])


def test_the_hardest_negative_alone_is_pushed_and_the_mean_pushes_all_that_come_close() -> None:
    _, hardest = gradients(MarginRanking(0.9))
    _, mean = gradients(MarginRanking(0.9, hardest=False))

    assert (hardest.abs().amax(dim=1) > 1e-3).tolist() == [True, True, False]
    assert (mean.abs().amax(dim=1) > 1e-3).tolist() == [True, True, True]


@pytest.mark.parametrize("hardest", [True, False])
def test_excluded_candidates_get_no_gradient(hardest: bool) -> None:
    excluded = torch.tensor([[False, True, False], [False, True, False]])

    query, candidates = gradients(MarginRanking(0.9, hardest=hardest), excluded=excluded)

    assert torch.equal(candidates[1], torch.zeros(2)) and candidates[[0, 2]].abs().amax(dim=1).min() > 1e-3
    assert query[0].abs().max() > 1e-3 and torch.equal(query[1], torch.zeros(2))  # the second query leads candidate 2 by 1.8


@pytest.mark.parametrize("hardest", [True, False])
def test_a_query_without_a_negative_costs_nothing_and_moves_nothing(hardest: bool) -> None:
    excluded = torch.tensor([[False, True, True], [False, False, False]])

    loss = MarginRanking(0.9, hardest=hardest)(QUERY, CANDIDATES, TARGET, excluded=excluded)
    query, candidates = gradients(MarginRanking(0.9, hardest=hardest), excluded=excluded)
    alone = MarginRanking(0.9, hardest=hardest)(QUERY[:1], CANDIDATES[:1], TARGET[:1])

    assert loss.item() == pytest.approx((0.0 + (0.7 if hardest else 0.35)) / 2, abs=1e-6)
    assert torch.equal(query[0], torch.zeros(2)) and query[1].abs().max() > 1e-3 and candidates.isfinite().all()
    assert alone.item() == 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_cosines_are_float32_under_autocast_and_in_half_precision(dtype: torch.dtype) -> None:
    query, candidates = (100 * QUERY).to(dtype), (100 * CANDIDATES).to(dtype)

    with torch.autocast("cpu", dtype=dtype):
        loss = MarginRanking(0.3)(query, candidates, TARGET)

    assert loss.dtype == torch.float32 and loss.item() == pytest.approx((0.5 + 0.1) / 2, abs=1e-6)


def test_a_margin_below_zero_is_refused() -> None:
    with pytest.raises(ValueError, match=r"margin -0\.2"):
        MarginRanking(-0.2)
