"""MMRA's own parameter names to those of `PopularityNetwork` in its released form, and the sizes that they imply."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

HALVES = {"": "item", "retrieval_": "neighbours"}
PARTS = {
    "visual_embedding": "attention.project.vision",
    "textual_embedding": "attention.project.words",
    "dual_attention_linear_1": "attention.taken.vision",
    "dual_attention_linear_2": "attention.taken.words",
    "cross_modal_linear_1": "attention.joint.vision",
    "cross_modal_linear_2": "attention.joint.words",
    "uni_modal_linear_1": "pooling.vision.score",
    "uni_modal_linear_2": "pooling.words.score",
}
ENDS = {"label_embedding_linear": "label", "prediction_module.0": "hidden.0", "prediction_module.2": "hidden.2", "prediction_module.4": "last"}
NAMES = {
    f"{theirs}.{kind}": f"{ours}.{kind}"
    for theirs, ours in ({f"{half}{part}": f"{HALVES[half]}.{PARTS[part]}" for half in HALVES for part in PARTS} | ENDS).items()
    for kind in ("weight", "bias")
}
"""Theirs -> ours, every parameter of a released checkpoint. `dual_attention_linear_1` makes of words what the frames take: it is of vision here."""


def released_weights(released: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """(the state dict of a `PopularityNetwork`, names that it does not have). Source: as released, 40 tensors."""
    return {NAMES[name]: tensor for name, tensor in released.items() if name in NAMES}, [name for name in released if name not in NAMES]


def released_settings(released: Mapping[str, Tensor]) -> dict[str, Any]:
    """The arguments of `PopularityNetwork` that the tensors tell; `alpha` is in none of them (the release's default is 0.6).

    Raises:
        ValueError: a parameter of the release is missing.
    """
    missing = [name for name in NAMES if name not in released]
    if missing:
        raise ValueError(f"{', '.join(missing[:5])} missing ({len(missing)} of {len(NAMES)}); there is {', '.join(list(released)[:5]) or 'nothing'}")
    width, vision = released["visual_embedding.weight"].shape
    hidden = tuple(len(released[f"prediction_module.{layer}.weight"]) for layer in (0, 2))
    return {"vision_dim": vision, "words_dim": released["textual_embedding.weight"].shape[1], "form": "released", "width": width, "hidden": hidden}
