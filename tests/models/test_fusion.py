"""Attention fusion, frame integration and the query decoder."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from models.fusion.attention_fusion import AttentionFusion
from models.fusion.frame_integration import FrameIntegration
from models.query_decoder import QueryDecoder

BOTH = torch.tensor([True, True, False, False])
WORDS = torch.tensor([True, False, True, False])


def test_an_item_is_fused_from_what_it_has() -> None:
    torch.manual_seed(0)
    fusion, text, vision = AttentionFusion(4), torch.randn(4, 4), torch.randn(4, 4)

    fused = fusion(text, vision, has_text=WORDS, has_vision=BOTH)

    torch.testing.assert_close(fused[0], fusion(text, vision)[0])
    torch.testing.assert_close(fused[1], F.normalize(vision[1], dim=0), rtol=0, atol=0)
    torch.testing.assert_close(fused[2], F.normalize(text[2], dim=0), rtol=0, atol=0)
    assert torch.equal(fused[3], torch.zeros(4))


def test_a_missing_side_is_not_looked_at_and_gets_no_gradient() -> None:
    torch.manual_seed(0)
    fusion = AttentionFusion(4)
    text, vision = torch.randn(4, 4), torch.randn(4, 4)
    text[~WORDS], vision[~BOTH] = torch.inf, torch.nan
    text.requires_grad_(), vision.requires_grad_()

    fused = fusion(text, vision, has_text=WORDS, has_vision=BOTH)
    (fused * torch.randn(4, 4)).sum().backward()

    assert fused.isfinite().all() and text.grad is not None and vision.grad is not None
    assert text.grad.isfinite().all() and vision.grad.isfinite().all()
    assert torch.equal(text.grad[~WORDS], torch.zeros(2, 4)) and torch.equal(vision.grad[~BOTH], torch.zeros(2, 4))
    assert text.grad[0].abs().max() > 0 and all(parameter.grad.isfinite().all() for parameter in fusion.parameters())


def test_the_gate_is_the_softmax_worked_by_hand() -> None:
    fusion = AttentionFusion(2)
    with torch.no_grad():
        fusion.projection.weight.zero_()
        fusion.projection.bias.copy_(torch.tensor([3.0, 1.0]).log())

    fused = fusion(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]))

    torch.testing.assert_close(fused, F.normalize(torch.tensor([[0.75, 0.25]])))


def test_one_image_is_integrated_as_that_many_equal_frames() -> None:
    torch.manual_seed(0)
    integration, image = FrameIntegration(16, frames=5, heads=2), torch.randn(3, 1, 16)
    for parameter in integration.parameters():
        torch.nn.init.normal_(parameter)

    torch.testing.assert_close(integration(image), integration(image.repeat(1, 5, 1)))


def test_new_blocks_add_nothing_to_the_mean_of_frames() -> None:
    torch.manual_seed(0)
    integration, frames = FrameIntegration(16, frames=3, heads=2), torch.randn(2, 3, 16)

    expected = (frames + frames + integration.positional_embedding).mean(dim=1)

    torch.testing.assert_close(integration(frames), expected)


def test_the_order_of_frames_matters() -> None:
    torch.manual_seed(0)
    integration, frames = FrameIntegration(16, frames=3, heads=2), torch.randn(1, 3, 16)
    for parameter in integration.parameters():
        torch.nn.init.normal_(parameter)

    assert not torch.allclose(integration(frames), integration(frames.flip(1)), atol=1e-4)


def test_a_wrong_number_of_frames_and_heads_is_named() -> None:
    with pytest.raises(ValueError, match="clips of 4 frames, but there are positions for 5"):
        FrameIntegration(16, frames=5, heads=2)(torch.zeros(1, 4, 16))
    with pytest.raises(ValueError, match="3 attention heads do not divide 16"):
        FrameIntegration(16, heads=3)


@pytest.mark.parametrize("condition_dim", [16, 10])
def test_the_decoder_sees_its_condition_and_no_later_token_and_trains_every_parameter(condition_dim: int) -> None:
    torch.manual_seed(0)
    decoder = QueryDecoder(30, condition_dim=condition_dim, width=16, layers=2, heads=2, max_tokens=6).eval()
    ids, condition = torch.randint(30, (2, 6)), torch.randn(2, condition_dim)
    changed = ids.clone()
    changed[:, 4] = (changed[:, 4] + 1) % 30

    logits = decoder(ids, condition)
    logits.square().sum().backward()

    assert logits.shape == (2, 6, 30)
    assert [name for name, parameter in decoder.named_parameters() if parameter.grad is None] == []
    torch.testing.assert_close(decoder(changed, condition)[:, :4], logits[:, :4])
    assert not torch.allclose(decoder(changed, condition)[:, 4:], logits[:, 4:])
    assert not torch.allclose(decoder(ids, condition.flip(0))[:, 0], logits[:, 0])


def test_the_token_type_of_the_release_adds_the_embedding_of_token_zero() -> None:
    torch.manual_seed(0)
    plain = QueryDecoder(30, condition_dim=16, width=16, layers=1, heads=2).eval()
    typed = QueryDecoder(30, condition_dim=16, width=16, layers=1, heads=2, token_type_zero=True).eval()
    ids, condition = torch.randint(30, (2, 6)), torch.randn(2, 16)
    with torch.no_grad():
        plain.gpt2_model.transformer.wte.weight[0] = 0
    typed.load_state_dict(plain.state_dict())

    torch.testing.assert_close(typed(ids, condition), plain(ids, condition))
    with torch.no_grad():
        plain.gpt2_model.transformer.wpe.weight += 0.5
        typed.gpt2_model.transformer.wte.weight[0] = 0.5
    torch.testing.assert_close(typed(ids.clamp(min=1), condition)[..., 1:], plain(ids.clamp(min=1), condition)[..., 1:])


def test_a_query_longer_than_the_decoder_is_named() -> None:
    with pytest.raises(ValueError, match="queries of 7 tokens, but the decoder has 6 positions"):
        QueryDecoder(30, condition_dim=16, width=16, layers=1, heads=2, max_tokens=6)(torch.zeros(1, 7, dtype=torch.int64), torch.zeros(1, 16))
