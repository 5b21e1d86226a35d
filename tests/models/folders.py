"""Tiny model folders in transformers' format, with random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertModel,
    ChineseCLIPConfig,
    ChineseCLIPModel,
    CLIPConfig,
    CLIPModel,
    ConvNextV2Config,
    ConvNextV2Model,
    Dinov2Config,
    Dinov2Model,
    MobileNetV2Config,
    MobileNetV2Model,
    PreTrainedModel,
    ResNetConfig,
    ResNetModel,
    RobertaConfig,
    RobertaModel,
    SwinConfig,
    SwinModel,
    ViTConfig,
    ViTForImageClassification,
)

TRANSFORMER: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
WORDS: dict[str, Any] = {**TRANSFORMER, "vocab_size": 50, "max_position_embeddings": 20}
PIXELS: dict[str, Any] = {"image_size": 32, "patch_size": 16}


def vision_model(kind: str) -> PreTrainedModel:
    torch.manual_seed(0)
    if kind == "vit":
        return ViTForImageClassification(ViTConfig(**TRANSFORMER, **PIXELS))
    if kind == "dinov2":
        return Dinov2Model(Dinov2Config(**TRANSFORMER, **PIXELS))
    if kind == "mobilenet_v2":
        return MobileNetV2Model(MobileNetV2Config(depth_multiplier=0.25, finegrained_output=False, image_size=32))
    if kind == "resnet":
        return ResNetModel(ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 2], layer_type="basic"))
    if kind == "convnextv2":
        return ConvNextV2Model(ConvNextV2Config(hidden_sizes=[8, 16], depths=[1, 1], num_stages=2))
    if kind == "swin":
        return SwinModel(SwinConfig(image_size=32, patch_size=4, embed_dim=8, depths=[1, 1], num_heads=[2, 2], window_size=4))
    return two_towers(kind)


def text_model(kind: str) -> PreTrainedModel:
    torch.manual_seed(0)
    if kind == "bert":
        return BertModel(BertConfig(**WORDS))
    if kind == "masked_bert":
        return BertForMaskedLM(BertConfig(**WORDS))
    if kind == "roberta":
        return RobertaModel(RobertaConfig(**WORDS))
    return two_towers(kind)


def two_towers(kind: str) -> PreTrainedModel:
    if kind == "chinese_clip":
        return ChineseCLIPModel(ChineseCLIPConfig(text_config=WORDS, vision_config={**TRANSFORMER, **PIXELS}, projection_dim=12))
    assert kind == "clip"
    words = {**WORDS, "bos_token_id": 48, "eos_token_id": 49}
    return CLIPModel(CLIPConfig(text_config=words, vision_config={**TRANSFORMER, **PIXELS}, projection_dim=12))


def save(model: PreTrainedModel, folder: Path, **preprocessor: Any) -> Path:
    """Write the model folder; `preprocessor` goes into preprocessor_config.json where given."""
    model.save_pretrained(folder)
    if preprocessor:
        (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    return folder


def random_frames(count: int, size: int = 32) -> torch.Tensor:
    return torch.randint(256, (count, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
