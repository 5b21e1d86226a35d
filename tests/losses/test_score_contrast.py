"""Cross-entropy of scores."""

from __future__ import annotations

import math

import pytest
import torch

from losses.contrastive import InfoNCE
from losses.score_contrast import ScoreContrast

SCORES = torch.tensor([[2.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
TARGET = torch.tensor([0, 2])


def test_a_number_worked_by_hand() -> None:
    first = math.log(1 + math.exp(-1) + math.exp(-2))
    second = math.log(2 * math.exp(-1) + 1)

    assert ScoreContrast()(SCORES, TARGET).item() == pytest.approx((first + second) / 2)
    assert ScoreContrast()(SCORES, TARGET, weight=torch.tensor([1.0, 0.0])).item() == pytest.approx(first)


def test_what_is_excluded_is_no_negative_but_the_target_stays() -> None:
    excluded = torch.tensor([[True, True, False], [False, False, True]])

    found = ScoreContrast()(SCORES, TARGET, excluded=excluded, weight=torch.tensor([1.0, 0.0]))

    assert found.item() == pytest.approx(math.log(1 + math.exp(-2)))


def test_of_products_of_vectors_it_is_infonce() -> None:
    draw = torch.Generator().manual_seed(0)
    query, candidates = torch.randn(4, 5, generator=draw), torch.randn(7, 5, generator=draw)
    target, excluded = torch.tensor([1, 0, 6, 3]), torch.rand(4, 7, generator=draw) < 0.3

    ours = ScoreContrast(0.3)(query @ candidates.T, target, excluded=excluded)

    torch.testing.assert_close(ours, InfoNCE(0.3, normalise=False)(query, candidates, target, excluded=excluded))
    with pytest.raises(ValueError, match=r"temperature 0: it divides scores and must be above 0"):
        ScoreContrast(0)
