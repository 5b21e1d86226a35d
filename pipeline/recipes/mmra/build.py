"""An MMRA system: for a train split, or from what a checkpoint describes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from launch.logs import say
from pipeline.popularity import POPULARITY
from pipeline.recipe import Recipe
from pipeline.recipes.mmra.settings import MMRASettings
from pipeline.recipes.mmra.sizes import MODALITIES, Sizes, sizes_of
from pipeline.recipes.mmra.system import MMRA
from pipeline.shards import ShardSet


def check(recipe: Recipe) -> None:
    """Raise ValueError where a batch would not be clips, or another task than popularity is asked for, before anything is started."""
    if recipe.stream.policy != "clips":
        raise ValueError(f"--stream.policy {recipe.stream.policy}: mmra learns from clips by themselves; use --stream.policy clips")
    if recipe.evaluation.tasks != (POPULARITY,):
        raise ValueError(f"--evaluation.tasks [{','.join(recipe.evaluation.tasks)}]: mmra predicts {POPULARITY} and searches nothing")


def build(recipe: Recipe, packed_tokenizer: Path | None, shards: ShardSet | None = None) -> MMRA:
    """A new system for the features and the popularity of `shards`, everything from scratch. All ranks call this together.

    Args:
        packed_tokenizer: not needed: words come as features.
        shards: the train split.

    Raises:
        ValueError: the split has no features, or a clip has no popularity.
    """
    assert shards is not None, "sizes and mean popularity are those of the train split"
    settings: MMRASettings = recipe.system
    sizes = sizes_of(shards)
    missing = [modality for modality in MODALITIES if getattr(settings, modality) and not getattr(sizes, modality)]
    if missing:
        say(f"no clip of {shards.folder} has {' and '.join(missing)}: that modality is not looked at")
    if settings.retrieval and settings.bank == "released":
        say("warning: --system.bank released: validation labels are among the neighbours that are trained on; for comparison with the release alone")
    return MMRA(settings, sizes)


def rebuild(recipe: Recipe, description: dict[str, Any], checkpoint: Path) -> MMRA:
    """The system that `describe` described, its weights to be loaded."""
    return MMRA(recipe.system, Sizes(**description["sizes"]))
