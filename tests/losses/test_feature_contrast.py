"""The feature contrast as released, against its formula with both sums."""

from __future__ import annotations

import torch
from torch import Tensor

from losses.feature_contrast import ReleasedFeatureContrast


def both_sums(first: Tensor, second: Tensor, margin: float) -> Tensor:
    similar = torch.nn.functional.normalize(first @ second.T)
    own = similar.diagonal()
    return ((similar.sum(dim=0) - own + similar.sum(dim=1) - own) / margin).mean()


def test_a_rows_own_sum_says_what_both_sums_say() -> None:
    torch.manual_seed(0)
    first, second = torch.randn(6, 4), torch.randn(6, 4)

    found = ReleasedFeatureContrast(10.0)(first, second, torch.arange(6))

    torch.testing.assert_close(found, both_sums(first, second, 10.0))


def test_rows_of_two_ranks_with_their_weights_add_up_to_the_whole() -> None:
    torch.manual_seed(0)
    first, second = torch.randn(6, 4), torch.randn(6, 4)
    contrast, weight = ReleasedFeatureContrast(), torch.full((3,), 1 / 6)

    parts = [contrast(first[rows], second, torch.arange(6)[rows], weight=weight) for rows in (slice(0, 3), slice(3, 6))]

    torch.testing.assert_close(parts[0] + parts[1], both_sums(first, second, 100.0))


def test_rows_that_lack_a_modality_are_as_if_they_were_not_there() -> None:
    torch.manual_seed(0)
    first, second = torch.randn(5, 4), torch.randn(5, 4)
    present = torch.tensor([True, True, False, True, False])

    found = ReleasedFeatureContrast()(first, second, torch.arange(5), present=present, weight=present / 3)

    torch.testing.assert_close(found, both_sums(first[present], second[present], 100.0))
