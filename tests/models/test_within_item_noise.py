"""Noise of the kind that makes two clips of one product differ."""

from __future__ import annotations

import pytest
import torch

from models.within_item_noise import WithinItemNoise

ALL = torch.ones(6, dtype=torch.bool)


def test_rows_move_by_what_rows_of_one_product_differ_in_and_nowhere_else() -> None:
    torch.manual_seed(0)
    items = torch.tensor([0, 0, 1, 1, 2, 2])
    rows = torch.tensor([[5.0, 1, 0], [5, 3, 0], [8, 0, 2], [8, 4, 2], [1, 1, 7], [1, 2, 7]])  # products differ in the first and last feature

    moved = WithinItemNoise(1.0, 0.0)(rows, items, ALL) - rows

    assert not moved[:, [0, 2]].any() and (moved[:, 1] != 0).all()


def test_the_noise_has_the_covariance_of_rows_around_their_product_and_the_spread_in_all_directions() -> None:
    torch.manual_seed(0)
    items, scales = torch.arange(50).repeat_interleave(20), torch.tensor([3.0, 1.0, 0.0])
    rows = torch.randn(50, 3)[items] * 10 + torch.randn(1000, 3) * scales

    present = torch.ones(1000, dtype=torch.bool)
    alone = torch.cat([WithinItemNoise(2.0, 0.0)(rows, items, present) - rows for _ in range(20)])
    both = torch.cat([WithinItemNoise(2.0, 1.0)(rows, items, present) - rows for _ in range(20)])

    # S = diag(9, 1, 0), s^2 = 10 / 3
    torch.testing.assert_close(alone.T.cov(), 4 * torch.diag(scales.square()), rtol=0.1, atol=0.6)
    torch.testing.assert_close(both.T.cov(), 4 * torch.diag(scales.square()) + 10 / 3 * torch.eye(3), rtol=0.1, atol=0.6)


@pytest.mark.parametrize("within", [0.0, 3.0])
def test_nothing_moves_in_evaluation_without_noise_or_where_no_product_is_there_twice(within: float) -> None:
    rows, items = torch.randn(6, 3), torch.tensor([0, 0, 1, 2, 3, 4])
    noise = WithinItemNoise(within, within)

    assert noise(rows, torch.arange(6), ALL) is rows
    assert noise(rows, items, torch.tensor([True, False, True, True, True, True])) is rows, "the other row of product 0 is not there"
    assert noise.eval()(rows, items, ALL) is rows
    assert (noise.train()(rows, items, ALL) is rows) == (within == 0)


def test_a_row_that_is_not_there_stays() -> None:
    torch.manual_seed(0)
    rows = torch.randn(6, 3)
    present = torch.tensor([True, True, False, True, True, True])
    rows[2] = 0

    found = WithinItemNoise(1.0, 1.0)(rows, torch.tensor([0, 0, 0, 1, 1, 2]), present)

    assert not found[2].any() and (found[present] != rows[present]).all()
