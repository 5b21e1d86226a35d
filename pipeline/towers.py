"""The two towers that a recipe names: from transformers folders, from scratch, or from what a checkpoint describes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import transformers

from models.encoders import TextEncoder, VisionEncoder, load_text, load_vision
from models.encoders.model_folder import check_folder
from models.encoders.scratch import scratch_text, scratch_vision
from pipeline.recipe import Encoders

SCRATCH = "scratch"
"""In place of a model folder: a small tower from scratch."""


def check_towers(encoders: Encoders) -> None:
    """Raise ValueError where a folder that `encoders` names is not there, before anything is packed or started."""
    for flag, path in (("--encoders.vision", encoders.vision), ("--encoders.text", encoders.text)):
        if not path.startswith(SCRATCH):
            check_folder(path, flag)


def build_towers(
    encoders: Encoders, packed_tokenizer: Path | None, *, dim: int, image_size: int | None, scratch_dropout: float, attend_padding: bool = False
) -> tuple[TextEncoder, VisionEncoder, Path]:
    """(text encoder, vision encoder, folder of the tokenizer), both with `dim` dimensions.

    Args:
        packed_tokenizer: the vocabulary that packing trained; a text tower from scratch uses it.
        image_size: pixels a side; None: what the folder says.
        scratch_dropout: of a text tower from scratch; pretrained towers keep their own.
        attend_padding: as in `TextEncoder`.

    Raises:
        ValueError: a folder is missing or does not fit, or there is no vocabulary for a text tower from scratch.
    """
    tokenizer = packed_tokenizer if encoders.text == SCRATCH else Path(encoders.text)
    if tokenizer is None:
        raise ValueError("a text encoder from scratch needs the vocabulary that packing trains; pack the train split with --vocab_size above 0")
    vocabulary = len(transformers.AutoTokenizer.from_pretrained(tokenizer, local_files_only=True, trust_remote_code=False))
    if encoders.text == SCRATCH:
        text = scratch_text(dim, vocabulary, dropout=scratch_dropout)
    else:
        text = load_text(
            encoders.text, dim=dim, pooling=encoders.text_pooling, attend_padding=attend_padding, frozen_layers=encoders.frozen_text_layers
        )
    if encoders.vision.startswith(SCRATCH):
        vision = scratch_vision(dim, size=encoders.vision.partition(":")[2] or "small", image_size=image_size)
    else:
        vision = load_vision(
            encoders.vision, dim=dim, image_size=image_size, frozen_layers=encoders.frozen_vision_layers, batch_norm=encoders.batch_norm
        )
    for tower in (text, vision):
        if encoders.remember_features_mb and tower.frozen_layers == "all":
            tower.remember_features(encoders.remember_features_mb)
    if encoders.gradient_checkpointing and not (text.checkpoint_gradients() and vision.checkpoint_gradients()):
        raise ValueError("--encoders.gradient_checkpointing: transformers does not support it for these encoders; leave it out")
    return text, vision, tokenizer


def rebuild_towers(description: dict[str, Any]) -> tuple[TextEncoder, VisionEncoder]:
    """The towers of a checkpoint's system.json (`text`, `vision`), with fresh random weights to be loaded over."""
    return TextEncoder.from_description(description["text"]), VisionEncoder.from_description(description["vision"])
