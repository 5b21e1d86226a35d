"""The release's weights as an MQMC system."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import normalize

from pipeline.foreign import Import, below, read_foreign
from pipeline.import_checkpoint import Imported, Wanted
from pipeline.recipes.mqmc.categories import MVS_UPPER, Categories
from pipeline.recipes.mqmc.runs import released
from pipeline.recipes.mqmc.settings import MQMCSettings
from pipeline.recipes.mqmc.sizes import SideSizes, Sizes
from pipeline.recipes.mqmc.system import MQMC

NAMES = {
    "GU_q_video.fc.": "video.vision.layers.",
    "GU_q_img.fc.": "goods.vision.layers.",
    "GU_q_vtext.fc.": "video.words.layers.0.",
    "GU_q_vtext.BN.": "video.words.layers.1.",
    "GU_q_ptext.fc.": "goods.words.layers.0.",
    "GU_q_ptext.BN.": "goods.words.layers.1.",
    **{
        f"GU_q_{theirs}_fuse.{part}.": f"{ours}.fusion.{name}."
        for theirs, ours in (("video", "video"), ("product", "goods"))
        for part, name in (("fc_img", "first"), ("fc_text", "second"), ("fc_out", "joint"), ("BN", "norm"), ("cg.fc", "gate"))
    },
    "encoder_q_video.f.": "video.query.",
    "encoder_q_product.f.": "goods.query.",
    "encoder_k_video.f.": "keys.video.copy.",
    "encoder_k_product.f.": "keys.goods.copy.",
}
"""Theirs -> ours, by how names begin."""
NEEDED = ("queue", "queue_cluster1", "GU_q_video.fc.0.weight", "GU_q_img.fc.0.weight", "GU_q_vtext.fc.weight", "GU_q_ptext.fc.weight")
"""Tensors that sizes are read off."""


def from_mqmc(path: Path, wanted: Wanted) -> Imported:
    """A checkpoint of the MQMC release (`checkpoint_0000.pth.tar`, `model_best.pth.tar`, or its `state_dict` alone), for the ontology of MVS.

    The release's queues are not among its tensors: a run starts, and goes on, with random rows. Those of the file (`queue`) are what ours begin
    with, on both sides.

    Raises:
        ValueError: lists what is missing, unknown or misshapen.
    """
    groups = read_foreign(path)
    inner = groups.get("state_dict")
    named = inner if isinstance(inner, Mapping) else groups
    weights = {name.removeprefix("module."): value for name, value in named.items() if isinstance(value, Tensor)}
    missing = [name for name in NEEDED if name not in weights]
    if missing:
        held = ", ".join(map(str, groups)) or "nothing"
        raise ValueError(f"{path}: no {' and no '.join(missing)}; a checkpoint of MQMC has them, this file holds {held}")
    dim, size, count = weights["queue"].shape
    if (count, len(weights["queue_cluster1"])) != (len(MVS_UPPER), max(MVS_UPPER) + 1):
        raise ValueError(
            f"{path}: {count} middle and {len(weights['queue_cluster1'])} upper categories; the release has the {len(MVS_UPPER)} and "
            f"{max(MVS_UPPER) + 1} of MVS"
        )
    system = MQMC(*_shape_of(weights, dim, size))
    found = Import()
    for theirs, ours in NAMES.items():
        found.take(ours.removesuffix("."), below(weights, theirs))
    found.unknown += [name for name in weights if not name.startswith((*NAMES, "GU_k_", "queue"))]
    found.leave([name for name in weights if name.startswith("GU_k_")], "encoders of modalities that no forward uses")
    found.leave([name for name in weights if name.startswith("queue_cluster")], "categories of rows, which follow from the queue that a row is in")
    rows = normalize(weights["queue"].float(), dim=0).permute(2, 1, 0).contiguous()
    own = system.queues
    found.take("queues", {"video": rows, "goods": rows, "pointer": weights.get("queue_ptr", own.pointer), "items": own.items, "filled": own.filled})
    for name, value in system.state_dict().items():
        if name.endswith("num_batches_tracked"):  # a counter that nothing here depends on
            found.taken.setdefault(name, torch.zeros_like(value))
    found.into(system, path)
    return Imported(system, replace(released(), system=system.settings), found.left_out)


def _shape_of(weights: Mapping[str, Tensor], dim: int, size: int) -> tuple[MQMCSettings, Sizes, Categories]:
    hidden, video = weights["GU_q_video.fc.0.weight"].shape
    width, video_words = weights["GU_q_vtext.fc.weight"].shape
    settings = replace(released().system, dim=dim, width=width, hidden=hidden, queue_size=size)
    goods = SideSizes(weights["GU_q_img.fc.0.weight"].shape[1], weights["GU_q_ptext.fc.weight"].shape[1])
    return settings, Sizes(SideSizes(video, video_words), goods), Categories(MVS_UPPER)
