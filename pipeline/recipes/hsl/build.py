"""An HSL system: for a train split, or from what a checkpoint describes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from launch.distributed import broadcast_object
from launch.logs import is_main, say
from pipeline.feature_member import feature_width
from pipeline.recipe import Recipe
from pipeline.recipes.hsl.settings import HSLSettings
from pipeline.recipes.hsl.system import HSL
from pipeline.regions import REGIONS
from pipeline.shards import ShardSet
from pipeline.words import Vocabulary, counted_vocabulary, read_vocabulary, read_word_vectors

POLICIES = ("links", "published", "document")


def check(recipe: Recipe) -> None:
    """Raise ValueError where a batch would not be products with a query each, before anything is packed or started."""
    if recipe.stream.policy not in POLICIES:
        raise ValueError(f"--stream.policy {recipe.stream.policy}: hsl compares products with their queries; use one of {', '.join(POLICIES)}")
    if recipe.system.word_vectors and not Path(recipe.system.word_vectors).is_file():
        raise ValueError(f"--system.word_vectors {recipe.system.word_vectors}: no such file")


def build(recipe: Recipe, packed_tokenizer: Path | None, shards: ShardSet | None = None) -> HSL:
    """A new system for the regions and words of `shards`, everything from scratch but word vectors that a file gives. All ranks call this together.

    Args:
        packed_tokenizer: not needed: words are numbered whole.
        shards: the train split.

    Raises:
        ValueError: no product has regions, the split has no words, or the file of word vectors is at fault.
    """
    assert shards is not None, "sizes and words are those of the train split"
    found: tuple[Vocabulary, Tensor | None, int] = broadcast_object(_read(recipe.system, shards) if is_main() else None)  # type: ignore[assignment]
    vocabulary, vectors, width = found
    say(f"{len(vocabulary):,} words, {width} features of a region")
    system = HSL(recipe.system, vocabulary, width, recipe.system.word_dim if vectors is None else vectors.shape[1])
    if vectors is not None:
        with torch.no_grad():
            system.text.words.weight.copy_(vectors)
    return system


def _read(settings: HSLSettings, shards: ShardSet) -> tuple[Vocabulary, Tensor | None, int]:
    """(vocabulary, vectors of its words, features of a region)"""
    width = feature_width(shards, "goods", REGIONS)
    if not width:
        raise ValueError(f"{shards.folder}: no goods item has regions.npy; hsl looks at regions of images, which a corpus brings (kddcup)")
    vocabulary = counted_vocabulary(shards.folder, settings.least_count)
    return vocabulary, read_word_vectors(Path(settings.word_vectors), vocabulary) if settings.word_vectors else None, width


def rebuild(recipe: Recipe, description: dict[str, Any], checkpoint: Path) -> HSL:
    """The system that `describe` described, its weights to be loaded."""
    return HSL(recipe.system, read_vocabulary(checkpoint), description["region_width"], description["word_dim"])
