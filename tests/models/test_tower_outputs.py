"""Tokens and places of towers beside their pooled features, and of documents beside their vectors."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from models.document_encoder import DocumentEncoder
from models.encoders import load_text, load_vision
from models.encoders.scratch import scratch_text, scratch_vision
from tests.models.folders import random_frames, save, text_model, vision_model

IDS = torch.tensor([[48, 5, 6, 7, 49], [48, 9, 49, 1, 1]])
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
PLACES = {"vit": 4, "dinov2": 4, "clip": 4, "chinese_clip": 4, "mobilenet_v2": 1, "resnet": 16, "convnextv2": 16, "swin": 16}
"""Of images of 32 x 32 pixels: 2 x 2 patches of 16, or what the strides leave."""


@pytest.mark.parametrize("kind", PLACES)
@pytest.mark.parametrize("frozen", [0, "all"])
def test_a_vision_tower_gives_its_pooled_feature_and_every_place_in_one_forward(kind: str, frozen: int | str, tmp_path: Path) -> None:
    encoder = load_vision(save(vision_model(kind), tmp_path), dim=12, image_size=32, frozen_layers=frozen).eval()  # type: ignore[arg-type]
    frames = random_frames(9)  # more than a frozen tower takes at once

    found = encoder.outputs(frames)

    torch.testing.assert_close(found.pooled, encoder.features(frames))
    assert found.tokens.shape == (9, PLACES[kind], encoder.width)
    assert found.tokens.requires_grad == (frozen == 0)


def test_the_places_of_a_vit_are_its_patches_without_the_class_token(tmp_path: Path) -> None:
    encoder = load_vision(save(vision_model("vit"), tmp_path), dim=12, image_size=32).eval()
    frames, hidden = random_frames(2), {}
    encoder.tower.register_forward_hook(lambda module, args, output: hidden.update(all=output.last_hidden_state))

    places = encoder.outputs(frames).tokens

    assert hidden["all"].shape[1] == 5
    torch.testing.assert_close(places, hidden["all"][:, 1:])


def test_the_places_of_a_convolutional_map_are_its_positions_row_by_row() -> None:
    encoder, hidden = scratch_vision(8, size="tiny", image_size=48).eval(), {}
    encoder.tower.register_forward_hook(lambda module, args, output: hidden.update(all=output.last_hidden_state))

    places = encoder.outputs(random_frames(2, size=48)).tokens

    assert places.shape == (2, 9, 256)
    torch.testing.assert_close(places[:, 5], hidden["all"][:, :, 1, 2])


def test_places_are_averaged_to_a_grid_where_they_are_more() -> None:
    encoder = scratch_vision(8, size="tiny", image_size=64).eval()
    frames = random_frames(2, size=64)

    every, quarters, same = (encoder.outputs(frames, grid).tokens for grid in (0, 2, 9))

    assert every.shape[1] == 16 and quarters.shape[1] == 4
    torch.testing.assert_close(quarters[:, 1], every[:, [2, 3, 6, 7]].mean(dim=1))  # the upper right one
    torch.testing.assert_close(same, every)


def test_a_frozen_tower_remembers_places_beside_features(tmp_path: Path) -> None:
    encoder = load_vision(save(vision_model("mobilenet_v2"), tmp_path), dim=12, image_size=64, frozen_layers="all").eval()
    frames, calls = random_frames(3, size=64), []
    expected = encoder.outputs(frames, 1)
    encoder.remember_features(1)
    encoder.tower.register_forward_hook(lambda module, args, kwargs, output: calls.append(len(kwargs["pixel_values"])), with_kwargs=True)

    encoder.outputs(frames[:2], 1)
    found = encoder.outputs(frames, 1)
    features = encoder.features(frames)

    assert calls == [2, 1, 3]
    torch.testing.assert_close(found.tokens, expected.tokens)
    torch.testing.assert_close(found.pooled, expected.pooled)
    torch.testing.assert_close(features, expected.pooled)


@pytest.mark.parametrize("kind", ["bert", "masked_bert", "roberta", "chinese_clip", "clip"])
def test_a_text_tower_gives_its_pooled_feature_every_token_and_its_table_of_words(kind: str, tmp_path: Path) -> None:
    encoder = load_text(save(text_model(kind), tmp_path), dim=12).eval()

    found = encoder.outputs(IDS, MASK)

    torch.testing.assert_close(found.pooled, encoder.features(IDS, MASK))
    assert found.tokens.shape == (2, 5, encoder.width)
    assert encoder.word_embeddings().shape == (50, 16)
    if kind == "bert":
        torch.testing.assert_close(found.pooled, found.tokens[:, 0])


@pytest.fixture(scope="module")
def documents() -> DocumentEncoder:
    torch.manual_seed(0)
    return DocumentEncoder(scratch_text(8, 50, dropout=0.0), scratch_vision(8, size="tiny", image_size=32), frames=3, heads=2)


def test_a_documents_vectors_are_the_same_with_tokens_and_its_places_are_the_mean_over_frames(documents: DocumentEncoder) -> None:
    frames = torch.stack([random_frames(3), random_frames(6)[3:]])
    everything = torch.tensor([True, True])

    found = documents.tokens(frames, everything, IDS, MASK, everything)
    vectors = documents(frames, everything, IDS, MASK, everything)

    torch.testing.assert_close(found.title, vectors.title)
    torch.testing.assert_close(found.vision, vectors.vision)
    torch.testing.assert_close(found.words, documents.text.outputs(IDS, MASK).tokens)
    torch.testing.assert_close(found.places[1], documents.vision.outputs(frames[1]).tokens.mean(dim=0))


def test_what_a_document_lacks_is_zeros_and_every_parameter_still_takes_part(documents: DocumentEncoder) -> None:
    frames, none = random_frames(2)[:, None], torch.tensor([False, False])
    second = torch.tensor([False, True])

    found = documents.tokens(frames, second, IDS, MASK, none)
    sum(value.sum() for value in found).backward()  # type: ignore[union-attr]

    assert found.title.abs().max() == found.words.abs().max() == found.vision[0].abs().max() == found.places[0].abs().max() == 0
    assert found.vision[1].norm().item() == pytest.approx(1) and found.places[1].abs().max() > 0
    trained = {name: parameter for name, parameter in documents.named_parameters() if parameter.requires_grad and not name.startswith("fusion.")}
    assert [name for name, parameter in trained.items() if parameter.grad is None] == []
