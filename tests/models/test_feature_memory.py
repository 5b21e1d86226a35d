"""A frozen tower's features, remembered by the frames' bytes."""

from __future__ import annotations

import torch

from models.feature_memory import FeatureMemory


def frames(*values: int) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 2, 2)


def doubled(asked: list[list[int]]):
    def compute(new: torch.Tensor) -> torch.Tensor:
        asked.append(new[:, 0, 0, 0].tolist())
        return 2.0 * new[:, 0, 0, :1].float().expand(-1, 4)

    return compute


def test_a_frame_is_computed_once_and_its_feature_given_wherever_it_comes_again():
    asked: list[list[int]] = []
    memory = FeatureMemory(megabytes=1)

    first = memory.features(frames(3, 5, 3), doubled(asked))
    second = memory.features(frames(5, 7), doubled(asked))

    assert first[:, 0].tolist() == [6, 10, 6]
    assert second[:, 0].tolist() == [10, 14]
    assert [sorted(new) for new in asked] == [[3, 5], [7]]


def test_a_full_memory_computes_what_it_could_not_keep_again():
    asked: list[list[int]] = []
    memory = FeatureMemory(megabytes=0)

    memory.features(frames(3), doubled(asked))
    again = memory.features(frames(3), doubled(asked))

    assert again[:, 0].tolist() == [6]
    assert asked == [[3], [3]]
