"""Attentive pooling."""

from __future__ import annotations

import math

import torch

from models.fusion.attentive_pooling import AttentivePooling


def pooling(divisor: float = 1.0) -> AttentivePooling:
    """Two features, the score is the first one."""
    layer = AttentivePooling(2, divisor=divisor)
    layer.score.weight.data = torch.tensor([[1.0, 0.0]])
    return layer


VECTORS = torch.tensor([[[math.log(3), 8.0], [0.0, 4.0], [9.0, 100.0]]])


def test_vectors_are_weighted_by_their_scores() -> None:
    two = VECTORS[:, :2]

    found, blunt = pooling()(two, torch.ones(1, 2, dtype=torch.bool)), pooling(divisor=math.inf)(two, torch.ones(1, 2, dtype=torch.bool))

    torch.testing.assert_close(found[0, 1].item(), 0.75 * 8 + 0.25 * 4)
    torch.testing.assert_close(blunt[0, 1].item(), 6.0)


def test_what_is_missing_has_no_weight_and_an_item_with_nothing_is_zero() -> None:
    one, none = torch.tensor([[True, True, False]]), torch.zeros(1, 3, dtype=torch.bool)
    layer = pooling()

    found, empty = layer(VECTORS, one), layer(VECTORS, none)
    empty.sum().backward()

    torch.testing.assert_close(found, layer(VECTORS[:, :2], one[:, :2]))
    assert not empty.any() and layer.score.weight.grad is not None and layer.score.weight.grad.isfinite().all()


def test_the_released_pooling_has_a_bias_that_no_weight_depends_on() -> None:
    torch.manual_seed(0)
    layer = AttentivePooling(2, divisor=2, bias=True)
    present = torch.ones(1, 3, dtype=torch.bool)

    before = layer(VECTORS, present)
    layer.score.bias.data += 5

    torch.testing.assert_close(layer(VECTORS, present), before)
