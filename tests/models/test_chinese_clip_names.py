"""Chinese-CLIP's own names to transformers'."""

from __future__ import annotations

import pytest
import torch

from models.encoders.chinese_clip_names import vision_weights


def test_the_joint_attention_matrix_is_split_and_the_projection_turned() -> None:
    joint, projection = torch.arange(12.0).view(6, 2), torch.arange(6.0).view(2, 3)

    weights, unknown = vision_weights({"transformer.resblocks.3.attn.in_proj_weight": joint, "proj": projection})

    start = "tower.encoder.layers.3.self_attn"
    assert torch.equal(weights[f"{start}.q_proj.weight"], joint[:2]) and torch.equal(weights[f"{start}.v_proj.weight"], joint[4:])
    assert torch.equal(weights["projection.weight"], projection.T)
    assert unknown == []


@pytest.mark.parametrize("name", ["conv2.weight", "transformer.resblocks.0.attn.in_proj_weights", "transformer.resblocks.0.ln_3.bias"])
def test_an_unknown_name_is_told_and_not_taken(name: str) -> None:
    assert vision_weights({name: torch.zeros(3)}) == ({}, [name])
