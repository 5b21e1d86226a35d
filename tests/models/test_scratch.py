"""Towers made from nothing."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from losses.contrastive import InfoNCE
from models.encoders import TextEncoder, VisionEncoder
from models.encoders.scratch import scratch_text, scratch_vision
from tests.models.folders import random_frames


@pytest.mark.parametrize(("size", "millions"), [("tiny", 0.13), ("small", 0.5), ("medium", 2.0)])
def test_the_vision_sizes_have_the_stated_parameters_and_no_batch_norm(size: str, millions: float) -> None:
    encoder = scratch_vision(8, size=size)

    count = sum(parameter.numel() for parameter in encoder.tower.parameters())

    assert count / 1e6 == pytest.approx(millions, rel=0.1)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in encoder.modules())
    assert encoder.image_size == 64


def test_a_frame_has_the_same_vector_in_any_batch_and_any_mode() -> None:
    encoder = scratch_vision(8, size="tiny", image_size=48)
    frames = random_frames(4, 48)

    torch.testing.assert_close(encoder.train()(frames)[:1], encoder.eval()(frames[:1]), rtol=1e-4, atol=1e-5)


def test_scratch_encoders_are_rebuilt_from_json() -> None:
    vision, text = scratch_vision(8, size="tiny", image_size=48), scratch_text(8, 40, dropout=0.0)
    ids = torch.tensor([[2, 7, 9, 3, 0]])

    for encoder, inputs in ((vision, (random_frames(2, 48),)), (text, (ids, ids.sign()))):
        again = type(encoder).from_description(json.loads(json.dumps(encoder.describe())))
        again.load_state_dict(encoder.state_dict())
        assert isinstance(again, VisionEncoder | TextEncoder)
        torch.testing.assert_close(again(*inputs), encoder(*inputs))


def test_words_and_frames_of_eight_patterns_find_each_other_after_a_few_steps() -> None:
    torch.manual_seed(0)
    vision, text, contrast = scratch_vision(16, size="tiny", image_size=32), scratch_text(16, 20, width=32, heads=2, dropout=0.0), InfoNCE(0.1)
    patterns = torch.randint(256, (8, 3, 4, 4)).float()
    ids, own = torch.arange(5, 13).view(8, 1), torch.arange(8)
    optimiser = torch.optim.Adam([*vision.parameters(), *text.parameters()], 3e-3)

    def loss_and_hits() -> tuple[torch.Tensor, float]:
        pixels = nn.functional.interpolate(patterns, size=(32, 32)) + 40 * torch.randn(8, 3, 32, 32)
        words, frames = text(ids, torch.ones_like(ids)), vision(pixels.clamp(0, 255).byte())
        return contrast(words, frames, own), float(((words @ frames.T).argmax(dim=1) == own).float().mean())

    before = loss_and_hits()[1]
    for _ in range(40):
        optimiser.zero_grad()
        loss_and_hits()[0].backward()
        optimiser.step()

    assert before < 0.5 and loss_and_hits()[1] == 1


def test_an_unknown_size_is_refused() -> None:
    with pytest.raises(ValueError, match="vision size 'huge': choose one of tiny, small, medium"):
        scratch_vision(8, size="huge")
