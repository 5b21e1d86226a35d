"""Chinese-CLIP's own parameter names, as the Real20M release stores them, to transformers' names."""

from __future__ import annotations

import re
from collections.abc import Mapping

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


def vision_weights(released: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of a `VisionEncoder` over transformers' ChineseCLIPVisionModel, from the vision tower's own names.

    The joint query-key-value matrix is split in three, and `proj` is transposed into `projection.weight`.

    Args:
        released: names from the tower on: `conv1.weight`, `transformer.resblocks.0.attn.in_proj_weight`, …, `proj`.

    Raises:
        ValueError: a name that the tower does not have.
    """
    weights = {}
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
            raise ValueError(f"{name} is no parameter of Chinese-CLIP's vision tower")
    return weights


def text_weights(bert: Mapping[str, Tensor], projection: Tensor) -> dict[str, Tensor]:
    """The state dict of a `TextEncoder` over transformers' BertModel or ChineseCLIPTextModel, which share Chinese-CLIP's names.

    Args:
        bert: names from the tower on: `embeddings.word_embeddings.weight`, …
        projection: `text_projection` [C, D]; it is transposed.
    """
    return {**{f"tower.{name}": tensor for name, tensor in bert.items()}, "projection.weight": projection.T.contiguous()}
