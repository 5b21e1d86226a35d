"""Means over retrieved neighbours."""

from __future__ import annotations

import math

import pytest
import torch

from models.fusion.neighbours import Neighbours

SIMILARITY = torch.tensor([[math.log(2), 0.0, 0.0], [0.0, math.log(3), 0.0]])
LABELS = torch.tensor([[4.0, 8.0, 12.0], [1.0, 5.0, 100.0]])
PRESENT = torch.tensor([[True, True, True], [True, True, False]])
WORDS = torch.tensor([[[1.0], [2.0], [3.0]], [[4.0], [8.0], [100.0]]])


def test_labels_and_features_are_weighted_by_softmax_of_similarity_over_those_that_are_there() -> None:
    neighbours = Neighbours(SIMILARITY, LABELS, PRESENT, words=WORDS)

    label, words = neighbours.label(), neighbours.features("words")

    # weights 1/2, 1/4, 1/4 and 1/4, 3/4
    torch.testing.assert_close(label.values.flatten(), torch.tensor([7.0, 4.0]))
    torch.testing.assert_close(words.values, torch.tensor([[[1.75]], [[7.0]]]))
    assert label.present.tolist() == [[True], [True]] and words.present.tolist() == [[True], [True]]


def test_a_neighbour_without_a_modality_keeps_its_label_and_takes_no_weight_from_the_others_features() -> None:
    has = torch.tensor([[True, False, True], [False, False, True]])

    neighbours = Neighbours(SIMILARITY, LABELS, PRESENT, words=WORDS, has_words=has)
    words = neighbours.features("words")

    # 2/3 of 1 and 1/3 of 3; of the other item no neighbour that is there has words
    torch.testing.assert_close(words.values.flatten(), torch.tensor([5 / 3, 0.0]))
    assert words.present.tolist() == [[True], [False]]
    assert neighbours.label().values.flatten().tolist() == pytest.approx([7.0, 4.0])


def test_frames_are_averaged_first_with_first_over_neighbours_that_have_so_many() -> None:
    torch.manual_seed(0)
    vision = torch.randn(2, 3, 2, 5)
    has = torch.tensor([[[True, True], [True, False], [True, True]], [[True, False], [True, False], [True, True]]])

    found = Neighbours(SIMILARITY, LABELS, PRESENT, vision=vision, has_vision=has).features("vision")

    torch.testing.assert_close(found.values[0, 0], vision[0, 0, 0] / 2 + vision[0, 1, 0] / 4 + vision[0, 2, 0] / 4)
    torch.testing.assert_close(found.values[0, 1], vision[0, 0, 1] * 2 / 3 + vision[0, 2, 1] / 3)
    assert found.present.tolist() == [[True, True], [True, False]] and not found.values[1, 1].any()


def test_fewer_neighbours_are_as_a_smaller_k_and_none_are_absent() -> None:
    first = torch.tensor([True, False, False]).expand(2, 3)

    one = Neighbours(SIMILARITY, LABELS, first, words=WORDS)
    none = Neighbours(SIMILARITY, LABELS, torch.zeros(2, 3, dtype=torch.bool), words=WORDS)
    empty = Neighbours(SIMILARITY[:, :0], LABELS[:, :0], words=WORDS[:, :0])

    torch.testing.assert_close(one.label().values.flatten(), LABELS[:, 0])
    torch.testing.assert_close(one.features("words").values[:, 0], WORDS[:, 0])
    for nothing in (none, empty):
        for found in (nothing.label(), nothing.features("words")):
            assert found.values.shape == (2, 1, 1) and not found.values.any() and not found.present.any()


def test_a_modality_that_is_not_given_is_named() -> None:
    with pytest.raises(ValueError, match="without vision, which the network looks at; give them, or build it with vision_dim 0"):
        Neighbours(SIMILARITY, LABELS, words=WORDS).features("vision")


def test_labels_keep_float32_under_autocast() -> None:
    labels = torch.tensor([[10.01, 10.03]])

    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = Neighbours(torch.zeros(1, 2), labels).label().values

    assert found.item() == pytest.approx(10.02, abs=1e-5)
