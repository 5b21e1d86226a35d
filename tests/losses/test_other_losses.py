"""Feature distance, reconstruction and cyclic consistency by hand."""

from __future__ import annotations

import math

import pytest
import torch

from losses.cyclip import CyclicConsistency
from losses.feature_distance import FeatureDistance
from losses.reconstruction import Reconstruction


def test_feature_distance_is_the_scaled_mean_square_and_its_weights_pick_items() -> None:
    first, second = torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[1.0, 0.0], [3.0, 1.0]])

    mean = FeatureDistance(10)(first, second)
    one = FeatureDistance(10)(first, second, weight=torch.tensor([0.0, 1.0]))

    assert mean.item() == pytest.approx(10 * (0 + 4 + 9 + 1) / 4)
    assert one.item() == pytest.approx(10 * (9 + 1) / 2)


def test_feature_distance_of_half_precision_is_float32() -> None:
    loss = FeatureDistance(1)(torch.full((1, 1), 300.0, dtype=torch.float16), torch.zeros(1, 1, dtype=torch.float16))

    assert loss.dtype == torch.float32 and loss.item() == 90000  # above float16's largest number


def test_reconstruction_predicts_the_next_token_and_leaves_padding_out_by_its_mask() -> None:
    logits = torch.zeros(2, 3, 4)
    logits[0, 0, 2] = 5.0  # token 2 is next, and expected
    logits[0, 2, 1] = 99.0  # what would follow the last token is not asked
    logits[1, 1, 3] = 7.0  # token 3 is expected where padding (0) follows
    ids = torch.tensor([[1, 2, 0], [1, 2, 0]])
    known = -math.log(math.exp(5) / (math.exp(5) + 3))
    unknown = math.log(4)
    wrong = -math.log(1 / (math.exp(7) + 3))

    masked, count = Reconstruction()(logits, ids, torch.tensor([[1, 1, 0], [1, 1, 0]]))
    all_tokens, all_count = Reconstruction()(logits, ids)

    assert (masked.tolist(), count.tolist()) == (pytest.approx([known, unknown]), [1, 1])
    assert (all_tokens.tolist(), all_count.tolist()) == (pytest.approx([known + unknown, unknown + wrong]), [2, 2])


def test_reconstruction_of_no_tokens_is_zero_with_a_gradient() -> None:
    logits = torch.randn(2, 3, 4, requires_grad=True)

    loss, count = Reconstruction()(logits, torch.zeros(2, 3, dtype=torch.int64), torch.zeros(2, 3))
    loss.sum().backward()

    assert (loss.tolist(), count.tolist()) == ([0, 0], [0, 0])
    assert logits.grad is not None and logits.grad.abs().max() == 0


def test_cyclic_consistency_is_zero_for_equal_sides_and_worked_by_hand_for_others() -> None:
    query = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    candidates = torch.tensor([[1.0, 0.0], [3.0, 0.0]])

    same = CyclicConsistency(0.25)(query, 7 * query)
    loss = CyclicConsistency(0.25)(query, candidates)

    # S = [[1, 1], [0, 0]]: S - S^T has two entries of size 1 out of 4; QQ^T = I, KK^T = all ones: two differ by 1.
    assert same.item() == pytest.approx(0)
    assert loss.item() == pytest.approx(0.25 * 2 * (2 / 4 + 2 / 4))
