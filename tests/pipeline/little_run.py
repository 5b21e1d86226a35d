"""Training as the command does it, over systems and recipes that a test made; what such runs leave."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from launch import distributed
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


def fit_forms(
    train: Callable[[Recipe, ShardSet, Path], object], recipe: Callable[..., Recipe], forms: Mapping[str, Mapping[str, Any]], argv: list[str]
) -> None:
    """A command for `commands_on_ranks`: three steps of every form over the shards of its first argument, each below the second one."""
    shards, out = argv
    distributed.start("cpu", timeout_s=120)
    for form, settings in forms.items():
        train(recipe(3, **settings), ShardSet(shards), Path(out) / form)
    distributed.stop()


def weights(run: Path, step: int = 3) -> dict[str, Tensor]:
    """Weights of a run's checkpoint, of all ranks' three steps unless another one is named."""
    return torch.load(run / f"checkpoints/step-{step:08d}/weights.pt", weights_only=True)
