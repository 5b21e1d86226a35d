"""A frozen tower's features, remembered by the frames' bytes."""

from __future__ import annotations

import pytest
import torch

from models.encoders import TextEncoder
from models.encoders.feature_memory import FeatureMemory
from models.encoders.scratch import scratch_text


def frames(*values: int) -> list[torch.Tensor]:
    return [torch.full((3, 2, 2), value, dtype=torch.uint8) for value in values]


def doubled(inputs: list[torch.Tensor], asked: list[list[int]]):
    """(inputs, compute) whose features are twice the inputs' value; `asked` notes what was computed."""

    def compute(places: list[int]) -> torch.Tensor:
        values = [int(inputs[place].flatten()[0]) for place in places]
        asked.append(values)
        return torch.tensor([[2.0 * value] * 4 for value in values])

    return inputs, compute


def test_a_frame_is_computed_once_and_its_feature_given_wherever_it_comes_again():
    asked: list[list[int]] = []
    memory = FeatureMemory(megabytes=1)

    first = memory.features(*doubled(frames(3, 5, 3), asked))
    second = memory.features(*doubled(frames(5, 7), asked))

    assert first[:, 0].tolist() == [6, 10, 6]
    assert second[:, 0].tolist() == [10, 14]
    assert [sorted(new) for new in asked] == [[3, 5], [7]]


def test_a_full_memory_computes_what_it_could_not_keep_again():
    asked: list[list[int]] = []
    memory = FeatureMemory(megabytes=0)

    memory.features(*doubled(frames(3), asked))
    again = memory.features(*doubled(frames(3), asked))

    assert again[:, 0].tolist() == [6]
    assert asked == [[3], [3]]


def test_a_frozen_text_tower_gives_the_same_features_from_memory_however_a_batch_is_padded():
    torch.manual_seed(0)
    fresh = scratch_text(8, 50, dropout=0.0)
    tower = TextEncoder(fresh.tower, dim=8, pooling="mean", frozen_layers="all")
    ids = torch.tensor([[2, 7, 9, 3], [2, 8, 3, 0]])
    mask = (ids != 0).long()
    expected = tower.features(ids, mask)

    tower.remember_features(1)
    first = tower.features(ids, mask)
    again = tower.features(torch.nn.functional.pad(ids, (0, 3)), torch.nn.functional.pad(mask, (0, 3)))

    assert torch.allclose(first, expected, atol=1e-6)
    assert torch.equal(first, again)


def test_a_tower_that_is_trained_has_nothing_to_remember():
    with pytest.raises(ValueError, match="frozen tower alone"):
        scratch_text(8, 50).remember_features(1)
