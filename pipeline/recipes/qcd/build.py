"""A QCD system: from model folders, from scratch, or from what a checkpoint describes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from models.encoders import TextEncoder, VisionEncoder
from pipeline.recipe import Recipe
from pipeline.recipes.qcd.system import QCD
from pipeline.shards import ShardSet
from pipeline.towers import build_towers, check_towers, rebuild_towers


def check(recipe: Recipe) -> None:
    """Raise ValueError where a folder that the recipe names is not there, before anything is packed or started."""
    check_towers(recipe.encoders)


def build(recipe: Recipe, packed_tokenizer: Path | None, shards: ShardSet | None = None) -> QCD:
    """A new system: towers from the recipe's folders or from scratch, everything else from scratch.

    Args:
        packed_tokenizer: the vocabulary that packing trained; a text tower from scratch uses it.
        shards: the train split; nothing here depends on it, as a recipe's may.

    Raises:
        ValueError: a folder is missing or does not fit, or there is no vocabulary for a text tower from scratch.
    """
    s = recipe.system
    text, vision, tokenizer = build_towers(
        recipe.encoders,
        packed_tokenizer,
        dim=s.dim,
        image_size=s.image_size or None,
        scratch_dropout=s.dropout,
        attend_padding=s.attend_padding,
    )
    return _assembled(recipe, text, vision, tokenizer)


def rebuild(recipe: Recipe, description: dict[str, Any], checkpoint: Path) -> QCD:
    """The system that `describe` described, its weights to be loaded, without the encoders' folders."""
    text, vision = rebuild_towers(description)
    return _assembled(recipe, text, vision, checkpoint / "tokenizer")


def _assembled(recipe: Recipe, text: TextEncoder, vision: VisionEncoder, tokenizer: Path) -> QCD:
    if recipe.trainer.channels_last:
        vision.use_channels_last()
    return QCD(recipe.system, recipe.stream, text, vision, tokenizer)
