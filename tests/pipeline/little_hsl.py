"""HSL runs over the little KDD Cup files that take a moment; also run by torchrun in test_hsl_ranks.

torchrun --nproc_per_node R -m tests.pipeline.little_hsl SHARDS OUT
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from launch.seeds import seed_everything
from pipeline.pack import pack
from pipeline.recipe import Optim, Recipe, Trainer, resolve
from pipeline.recipes.hsl.build import build
from pipeline.recipes.hsl.settings import HSLSettings
from pipeline.recipes.hsl.system import HSL
from pipeline.shards import ShardSet
from tests.pipeline.little_kddcup import write_little_kddcup
from tests.pipeline.little_run import fit, fit_forms

FORMS: dict[str, dict[str, Any]] = {"mean": {}, "max": {"aggregation": "max", "mask_shared_queries": False}}
"""Settings of the runs that ranks are compared by."""


def packed_little_kddcup(folder: Path) -> Path:
    """The little files, packed: folder of their splits."""
    pack(write_little_kddcup(folder / "corpus"), folder / "shards", workers=1, shard_samples=50, vocab_size=200)
    return folder / "shards"


def recipe(steps: int, trainer: dict[str, Any] | None = None, **system: Any) -> Recipe:
    """HSL at a size that takes a moment."""
    smoke = resolve("hsl:smoke")
    sizes: dict[str, Any] = {"width": 16, "dim": 12, "heads": 2, "feedforward": 24, "image_layers": 1, "text_layers": 1, "word_dim": 8}
    sizes |= {"regions": 5, "transformer_dropout": 0.0, "object_dropout": 0.0, "temperature": 0.2}
    return dataclasses.replace(
        smoke,
        system=HSLSettings(**{**sizes, **system}),
        stream=dataclasses.replace(smoke.stream, batch_size=24, workers=0),
        # A large eps: Adam divides a gradient that is nothing but rounding by its own size, which makes steps of rounding errors.
        optim=Optim(lr=0.01, eps=1e-3, schedule="constant"),
        trainer=Trainer(**{"epochs": 1000, "max_steps": steps, "precision": "fp32", "log_every": 1, "seed": 1, **(trainer or {})}),
    )


def new_system(recipe: Recipe, shards: ShardSet) -> HSL:
    seed_everything(recipe.trainer.seed)
    return build(recipe, None, shards)


def train(recipe: Recipe, shards: ShardSet, out: Path, validation: ShardSet | None = None) -> HSL:
    """Train, going on from a checkpoint that is there; returns the trained system."""
    return fit(recipe, new_system(recipe, shards), shards, out, validation)


def main(argv: list[str]) -> None:
    fit_forms(train, recipe, FORMS, argv)
