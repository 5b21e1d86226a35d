"""Training as the command does it, over systems and recipes that a test made."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import torch

from pipeline.recipe import Recipe
from pipeline.shards import ShardSet
from pipeline.system import System
from pipeline.training.trainer import Trainer

S = TypeVar("S", bound=System)


def fit(recipe: Recipe, system: S, shards: ShardSet, out: Path, validation: ShardSet | None = None) -> S:
    """Train, going on from a checkpoint that is there; returns the trained system."""
    run = Trainer(recipe, system, shards, validation, out, torch.device("cpu"))
    latest = run.checkpoints.latest()
    if latest is not None:
        run.restore(latest)
    run.fit()
    return system
