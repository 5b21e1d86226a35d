"""An MQMC system: for a train split, or from what a checkpoint describes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from launch.distributed import world_size
from launch.logs import say
from pipeline.recipe import Recipe
from pipeline.recipes.mqmc.categories import Categories, categories_of
from pipeline.recipes.mqmc.sizes import Sizes, sizes_of
from pipeline.recipes.mqmc.system import MQMC
from pipeline.shards import ShardSet


def check(recipe: Recipe) -> None:
    """Raise ValueError where a batch would not be pairs, before anything is packed or started."""
    if recipe.stream.policy != "pairs":
        raise ValueError(f"--stream.policy {recipe.stream.policy}: mqmc compares clips with their own goods; use --stream.policy pairs")


def build(recipe: Recipe, packed_tokenizer: Path | None, shards: ShardSet | None = None) -> MQMC:
    """A new system for the features and categories of `shards`, everything from scratch. All ranks call this together.

    Args:
        packed_tokenizer: not needed: words come as features.
        shards: the train split.

    Raises:
        ValueError: the split has no features or no categories, or a rank would normalise a batch of one row.
    """
    assert shards is not None, "sizes and categories are those of the train split"
    rows = recipe.stream.batch_size // world_size()
    if rows < 2 and recipe.system.batch_norm == "own":
        raise ValueError(
            f"--stream.batch_size {recipe.stream.batch_size} leaves {rows} pair to a rank, which has no batch statistics; "
            "give at least 2 for each rank, or --system.batch_norm synchronised"
        )
    sizes, categories = sizes_of(shards), categories_of(shards)
    for side, own in sizes.to_dict().items():
        missing = [modality for modality, width in own.items() if not width]
        if missing:
            say(f"no {side} item of {shards.folder} has {' and '.join(missing)}: that modality has no encoder")
    say(f"{len(categories.upper)} middle and {max(categories.upper) + 1} upper categories")
    return MQMC(recipe.system, sizes, categories)


def rebuild(recipe: Recipe, description: dict[str, Any], checkpoint: Path) -> MQMC:
    """The system that `describe` described, its weights to be loaded."""
    return MQMC(recipe.system, Sizes.from_dict(description["sizes"]), Categories.from_dict(description["categories"]))
