"""The little corpus with categories, and a pre-training on it that takes a moment; test_pretrain_ranks runs `main` in many processes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from launch import distributed
from launch.seeds import seed_everything
from pipeline.recipe import Optim, Recipe, Stream, Trainer, resolve
from pipeline.recipes.qcd_pretrain.build import build
from pipeline.recipes.qcd_pretrain.system import QCDPretrain
from pipeline.shards import ShardSet
from tests.pipeline.little_corpus import write_little_corpus
from tests.pipeline.little_run import fit


def write_categorised_corpus(root: Path) -> Path:
    """The little corpus whose goods have a category of three levels: two departments, four shelves, eight kinds."""
    catalog = write_little_corpus(root) / "catalog.jsonl"
    records = [json.loads(line) for line in catalog.read_text(encoding="utf-8").splitlines()]
    for record in records:
        if record["domain"] == "goods":
            number = int(record["id"][1:])
            record["labels"] = {"category": [f"department {number % 2}", f"shelf {number % 4}", f"kind {number}"]}
    catalog.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return root


def recipe(steps: int, trainer: dict[str, Any] | None = None, stream: dict[str, Any] | None = None, **system: Any) -> Recipe:
    """qcd_pretrain:smoke at a size that takes a moment: no dropout, batches of 12."""
    smoke = resolve("qcd_pretrain:smoke")
    sizes = {"dim": 32, "heads": 2, "image_size": 32, "cross_width": 32, "cross_heads": 2, "dropout": 0.0}
    return dataclasses.replace(
        smoke,
        system=dataclasses.replace(smoke.system, **{**sizes, **system}),
        stream=Stream(**{"batch_size": 12, "domains": "mixed", "workers": 0, **(stream or {})}),
        # A large eps: Adam divides a gradient that is nothing but rounding by its own size, which makes steps of rounding errors.
        optim=Optim(name="adamw", lr=0.01, eps=0.01, schedule="constant"),
        trainer=Trainer(**{"epochs": 1000, "max_steps": steps, "precision": "fp32", "log_every": 1, "seed": 1, **(trainer or {})}),
    )


def new_system(recipe: Recipe, shards: ShardSet) -> QCDPretrain:
    seed_everything(recipe.trainer.seed)
    return build(recipe, shards.tokenizer(), shards)


def pretrain(recipe: Recipe, shards: ShardSet, out: Path) -> QCDPretrain:
    """Train, going on from a checkpoint that is there; returns the trained system."""
    return fit(recipe, new_system(recipe, shards), shards, out)


def main(argv: list[str]) -> None:
    folder, out, steps, prompter = argv
    distributed.start("cpu", timeout_s=120)
    pretrain(recipe(int(steps), prompter=prompter), ShardSet(Path(folder)), Path(out))
    distributed.stop()
