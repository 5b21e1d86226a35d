"""Our modules with the released program's weights give its numbers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from transformers import BertConfig, BertModel, ChineseCLIPVisionConfig, ChineseCLIPVisionModel

from models.encoders import TextEncoder, VisionEncoder
from models.encoders.chinese_clip_names import text_weights, vision_weights
from models.encoders.model_folder import ImageSettings
from models.fusion.attention_fusion import AttentionFusion
from models.fusion.frame_integration import FrameIntegration
from models.query_decoder import QueryDecoder
from tests.qcd_reference import Reference


@pytest.fixture(scope="module")
def reference(test_data: Path) -> Reference:
    return Reference(test_data)


@pytest.fixture(scope="module")
def text(reference: Reference) -> TextEncoder:
    config = BertConfig(
        vocab_size=120,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=64,
    )
    encoder = TextEncoder(BertModel(config, add_pooling_layer=False), dim=512, attend_padding=True)
    bert = reference.weights("doc_text_model", "text_model.")
    projection = reference.weights("doc_text_model", "text_projection")[""]
    encoder.load_state_dict(text_weights(bert, projection))
    return encoder.eval()


@pytest.fixture(scope="module")
def vision(reference: Reference) -> VisionEncoder:
    config = ChineseCLIPVisionConfig(
        hidden_size=64, num_hidden_layers=2, num_attention_heads=1, intermediate_size=256, image_size=32, patch_size=16, hidden_act="quick_gelu"
    )
    encoder = VisionEncoder(ChineseCLIPVisionModel(config), ImageSettings(size=32), dim=512)
    encoder.load_state_dict(vision_weights(reference.weights("state_dict", "visual_model."))[0])
    return encoder.eval()


@torch.no_grad()
def test_the_text_tower_gives_the_releases_numbers_and_differs_only_where_padding_is_masked(reference: Reference, text: TextEncoder) -> None:
    ids, padded = reference["title_ids"], reference["title_ids_padded"]
    kept = (padded != 0).long()

    as_released = text(padded, kept)
    text.attend_padding = False
    masked, alone = text(padded, kept), text(padded[:, : int(kept.sum(1).max())], kept[:, : int(kept.sum(1).max())])
    text.attend_padding = True

    reference.assert_same(text(ids, torch.ones_like(ids)), "title_emb")
    reference.assert_same(text(reference["query_ids"], torch.ones_like(reference["query_ids"])), "query_emb")
    reference.assert_same(as_released, "title_emb_padded_unmasked")
    assert (masked - as_released)[kept.sum(1) < padded.shape[1]].abs().max() > 1e-3
    torch.testing.assert_close(masked, alone)


@torch.no_grad()
def test_the_vision_tower_gives_the_releases_numbers(reference: Reference, vision: VisionEncoder) -> None:
    frames, images = reference.normal("qcd.video", 30, 3, 32, 32), reference.normal("qcd.image", 6, 3, 32, 32)

    def embed(pixels: torch.Tensor) -> torch.Tensor:
        return vision.projection(vision.tower(pixel_values=pixels).pooler_output)

    reference.assert_same(embed(frames), "frame_emb")
    reference.assert_same(embed(images), "image_emb")


@torch.no_grad()
def test_frames_and_words_are_fused_to_the_releases_numbers(reference: Reference) -> None:
    frames = FrameIntegration(512, frames=5, heads=8)
    frames.load_state_dict(reference.weights("doc_fusion_model", "video_attention_pooling."))
    fusion = AttentionFusion(512)
    fusion.load_state_dict(reference.weights("doc_fusion_model", "attention_pooling."))

    title = F.normalize(reference["title_emb"], dim=-1)
    video = F.normalize(frames(reference["frame_emb"].view(6, 5, 512)), dim=-1)
    goods = F.normalize(frames(reference["image_emb"].view(6, 1, 512)), dim=-1)

    reference.assert_same(title, "text_video")
    reference.assert_same(video, "vision_video")
    reference.assert_same(goods, "vision_goods")
    reference.assert_same(fusion(title, video), "fusion_video")
    reference.assert_same(fusion(title, goods), "fusion_goods")


@torch.no_grad()
def test_the_query_decoder_gives_the_releases_logits_only_with_its_token_type(reference: Reference) -> None:
    weights = reference.weights("text_generation_model", "")
    weights["gpt2_model.lm_head.weight"] = weights["gpt2_model.transformer.wte.weight"]
    decoder = QueryDecoder(120, token_type_zero=True).eval()
    decoder.load_state_dict(weights)
    ids, condition = reference["query_ids"], reference["vision_video"]

    as_released = decoder(ids, condition)[..., :16]
    decoder.token_type_zero = False
    ours = decoder(ids, condition)[..., :16]

    reference.assert_same(as_released, "gen_logits")
    assert (ours - as_released).abs().max() > 1e-3
