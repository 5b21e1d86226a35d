"""Chinese-CLIP's own parameter names, as cn_clip and the Real20M release store them, to transformers' names, and the shapes they imply."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import transformers
from torch import Tensor

VISION = {
    "class_embedding": "embeddings.class_embedding",
    "positional_embedding": "embeddings.position_embedding.weight",
    "conv1.weight": "embeddings.patch_embedding.weight",
    "ln_pre.weight": "pre_layrnorm.weight",
    "ln_pre.bias": "pre_layrnorm.bias",
    "ln_post.weight": "post_layernorm.weight",
    "ln_post.bias": "post_layernorm.bias",
}
BLOCK = re.compile(r"transformer\.resblocks\.(\d+)\.(.+)\.(weight|bias)")
BLOCK_PARTS = {"attn.out_proj": "self_attn.out_proj", "ln_1": "layer_norm1", "ln_2": "layer_norm2", "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}
JOINT = re.compile(r"transformer\.resblocks\.(\d+)\.attn\.in_proj_(weight|bias)")
WIDE_HEADS = {1280: 16}
"""Widths whose attention heads are not 64 wide: ViT-H/14."""


def vision_weights(released: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """(the state dict of a `VisionEncoder` over transformers' ChineseCLIPVisionModel, names that the tower does not have).

    The joint query-key-value matrix is split in three, and `proj` is transposed into `projection.weight`.

    Args:
        released: names from the tower on: `conv1.weight`, `transformer.resblocks.0.attn.in_proj_weight`, …, `proj`.
    """
    weights, unknown = {}, []
    for name, tensor in released.items():
        if name == "proj":
            weights["projection.weight"] = tensor.T.contiguous()
        elif name in VISION:
            weights[f"tower.{VISION[name]}"] = tensor
        elif joint := JOINT.fullmatch(name):
            for letter, part in zip("qkv", tensor.chunk(3)):
                weights[f"tower.encoder.layers.{joint[1]}.self_attn.{letter}_proj.{joint[2]}"] = part.clone()
        elif (block := BLOCK.fullmatch(name)) and block[2] in BLOCK_PARTS:
            weights[f"tower.encoder.layers.{block[1]}.{BLOCK_PARTS[block[2]]}.{block[3]}"] = tensor
        else:
            unknown.append(name)
    return weights, unknown


def text_weights(bert: Mapping[str, Tensor], projection: Tensor) -> dict[str, Tensor]:
    """The state dict of a `TextEncoder` over transformers' BertModel or ChineseCLIPTextModel, which share Chinese-CLIP's names.

    Args:
        bert: names from the tower on: `embeddings.word_embeddings.weight`, …
        projection: `text_projection` [C, D]; it is transposed.
    """
    return {**{f"tower.{name}": tensor for name, tensor in bert.items()}, "projection.weight": projection.T.contiguous()}


def vision_tower(released: Mapping[str, Tensor], heads: int = 0) -> tuple[transformers.ChineseCLIPVisionModel, int]:
    """(a vision tower of the released tensors' sizes with random weights, the side of its images in pixels).

    Args:
        released: as in `vision_weights`.
        heads: attention heads, which no tensor tells; 0: one for each 64 dimensions (80 in ViT-H/14), as Chinese-CLIP has them.

    Raises:
        ValueError: tensors that a ViT has are missing (a ResNet, for one).
    """
    first, positions = _needed(released, "conv1.weight", "positional_embedding")
    width, _, patch, _ = first.shape
    grid = math.isqrt(len(positions) - 1)
    config = transformers.ChineseCLIPVisionConfig(
        hidden_size=width,
        intermediate_size=len(_needed(released, "transformer.resblocks.0.mlp.c_fc.weight")[0]),
        num_hidden_layers=_layers(released, BLOCK),
        num_attention_heads=heads or WIDE_HEADS.get(width) or max(1, width // 64),
        image_size=grid * patch,
        patch_size=patch,
        hidden_act="quick_gelu",
    )
    return transformers.ChineseCLIPVisionModel(config), grid * patch


def text_tower(bert: Mapping[str, Tensor], heads: int = 0) -> transformers.BertModel:
    """A text tower of the released tensors' sizes, random weights, no pooler.

    Args:
        bert: as in `text_weights`.
        heads: attention heads, which no tensor tells; 0: one for each 64 dimensions.

    Raises:
        ValueError: tensors that a BERT has are missing.
    """
    words, positions, types, between = _needed(
        bert,
        "embeddings.word_embeddings.weight",
        "embeddings.position_embeddings.weight",
        "embeddings.token_type_embeddings.weight",
        "encoder.layer.0.intermediate.dense.weight",
    )
    config = transformers.BertConfig(
        vocab_size=len(words),
        hidden_size=words.shape[1],
        num_hidden_layers=_layers(bert, re.compile(r"encoder\.layer\.(\d+)\..+")),
        num_attention_heads=heads or max(1, words.shape[1] // 64),
        intermediate_size=len(between),
        max_position_embeddings=len(positions),
        type_vocab_size=len(types),
    )
    return transformers.BertModel(config, add_pooling_layer=False)


def _layers(names: Mapping[str, Tensor], pattern: re.Pattern[str]) -> int:
    return 1 + max(int(found[1]) for name in names if (found := pattern.fullmatch(name)))


def _needed(released: Mapping[str, Tensor], *names: str) -> list[Tensor]:
    missing = [name for name in names if name not in released]
    if missing:
        raise ValueError(f"{', '.join(missing)} missing; there is {', '.join(list(released)[:5]) or 'nothing'} …")
    return [released[name] for name in names]
