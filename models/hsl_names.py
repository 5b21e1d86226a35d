"""HSL's own parameter names to those of `RegionLevels` and `WordLevels`, and the sizes that they imply."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

GROUPS = ("img_enc", "txt_enc", "word_embed")
"""The state dicts of a checkpoint, in the order of its list."""
LEVELS = {"transformer1.layers.": "levels.first.layers.", "transformer2.layers.": "levels.second.layers."}
NAMES: dict[str, dict[str, str]] = {
    "img_enc": {
        "in_fc.": "project.",
        "out_fc.": "object_top.",
        "fc1.": "object_low.",
        "fc2.": "image_top.",
        "fc3.": "image_low.",
        "attflat_img.mlp.fc.linear.": "pooling.hidden.",
        "attflat_img.mlp.linear.": "pooling.score.",
        "attflat_img.linear_merge.": "pooling.merge.",
        **LEVELS,
    },
    "txt_enc": {"fc1.": "object_top.", "fc2.": "object_low.", "fc3.": "image_top.", "fc4.": "image_low.", **LEVELS},
    "word_embed": {"embed.": "words."},
}
"""Theirs -> ours, by how names begin."""
OF_WORDS = ("txt_enc", "word_embed")
"""The groups that make up `WordLevels`."""
UNUSED = "encoder_layer."
"""Templates that the release's layers are copied from; no forward uses them."""


def released_settings(groups: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Any]:
    """What the tensors tell of the sizes; the number of attention heads is in none of them (the release has 4).

    Raises:
        ValueError: a tensor that sizes are read off is missing.
    """
    wanted = {
        "img_enc": ("in_fc.weight", "out_fc.weight", "transformer1.layers.0.linear1.weight"),
        "txt_enc": ("fc1.weight",),
        "word_embed": ("embed.weight",),
    }
    missing = [f"{group}: {name}" for group, names in wanted.items() for name in names if name not in groups[group]]
    if missing:
        raise ValueError(f"no {' and no '.join(missing)}; a checkpoint of HSL has them")
    image, text = groups["img_enc"], groups["txt_enc"]
    width, regions = image["in_fc.weight"].shape
    vocabulary, vector_dim = groups["word_embed"]["embed.weight"].shape
    return {
        "regions": regions,
        "width": width,
        "dim": len(image["out_fc.weight"]),
        "feedforward": len(image["transformer1.layers.0.linear1.weight"]),
        "image_layers": _layers(image),
        "text_layers": _layers(text),
        "vocabulary": vocabulary,
        "vector_dim": vector_dim,
    }


def _layers(weights: Mapping[str, Tensor]) -> int:
    return sum(name.startswith("transformer1.layers.") and name.endswith(".norm1.weight") for name in weights)
