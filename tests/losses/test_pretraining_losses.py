"""Soft targets, matching and masked words by hand."""

from __future__ import annotations

import math

import pytest
import torch

from losses.masked_words import MaskedWords
from losses.matching import Matching
from losses.soft_targets import SoftTargets


def test_soft_targets_are_a_cross_entropy_with_every_class_and_its_weights_pick_items() -> None:
    logits = torch.tensor([[0.0, math.log(3)], [0.0, 0.0]])
    targets = torch.tensor([[0.5, 0.5], [1.0, 0.0]])
    first = -(0.5 * math.log(1 / 4) + 0.5 * math.log(3 / 4))
    second = math.log(2)

    mean = SoftTargets()(logits, targets)
    picked = SoftTargets()(logits, targets, weight=torch.tensor([0.0, 3.0]))

    assert mean.item() == pytest.approx((first + second) / 2)
    assert picked.item() == pytest.approx(3 * second)


def test_soft_targets_are_met_where_the_prediction_equals_them_and_get_no_gradient() -> None:
    targets = torch.tensor([[0.2, 0.3, 0.5]], requires_grad=True)
    logits = targets.detach().log().requires_grad_()

    loss = SoftTargets()(logits, targets)
    loss.backward()

    entropy = -sum(share * math.log(share) for share in (0.2, 0.3, 0.5))
    assert loss.item() == pytest.approx(entropy)
    assert logits.grad is not None and logits.grad.abs().max() < 1e-7
    assert targets.grad is None


def test_matching_asks_of_each_pair_whether_it_belongs_together() -> None:
    logits, matched = torch.tensor([math.log(3), math.log(3), 0.0]), torch.tensor([True, False, False])
    right, wrong, unsure = -math.log(3 / 4), -math.log(1 / 4), math.log(2)

    mean = Matching()(logits, matched)
    weighted = Matching()(logits, matched, weight=torch.tensor([2.0, 1.0, 0.0]))

    assert mean.item() == pytest.approx((right + wrong + unsure) / 3)
    assert weighted.item() == pytest.approx(2 * right + wrong)


def test_masked_words_are_added_up_text_by_text() -> None:
    logits = torch.zeros(3, 4)
    logits[0, 2] = math.log(5)  # word 2 is likely, and was there
    logits[2, 1] = math.log(5)  # word 1 is likely, but word 3 was there

    sums = MaskedWords()(logits, torch.tensor([2, 0, 3]), torch.tensor([2, 0, 2]), 3)

    assert sums.tolist() == pytest.approx([math.log(4), 0, -math.log(5 / 8) - math.log(1 / 8)])


def test_no_masked_word_at_all_costs_nothing_and_still_has_a_gradient() -> None:
    logits = torch.randn(0, 4, requires_grad=True)

    sums = MaskedWords()(logits, torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.int64), 2)
    sums.sum().backward()

    assert sums.tolist() == [0, 0]
    assert logits.grad is not None


@pytest.mark.parametrize("loss", ["soft", "matching", "masked"])
def test_half_precision_logits_give_a_float32_loss(loss: str) -> None:
    logits = torch.tensor([[300.0, -300.0]], dtype=torch.float16)

    found = {
        "soft": lambda: SoftTargets()(logits, torch.tensor([[0.0, 1.0]])),
        "matching": lambda: Matching()(logits[0], torch.tensor([True, True])),
        "masked": lambda: MaskedWords()(logits, torch.tensor([1]), torch.tensor([0]), 1).sum(),
    }[loss]()

    assert found.dtype == torch.float32
    assert found.item() == {"soft": 600, "matching": 150, "masked": 600}[loss]
