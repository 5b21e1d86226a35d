"""A little corpus in SCAN's layout, and CODER runs on it that take a moment; also run by torchrun in test_coder_ranks.

torchrun --nproc_per_node R -m tests.pipeline.little_captions SHARDS OUT

An image shows a thing in a colour at a place, a region for each and one of noise; its captions say so in five ways.
"""

from __future__ import annotations

import dataclasses
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from launch.seeds import seed_everything
from pipeline.pack import pack
from pipeline.recipe import Optim, Recipe, Trainer, resolve
from pipeline.recipes.coder.build import build
from pipeline.recipes.coder.settings import CODERSettings
from pipeline.recipes.coder.system import CODER
from pipeline.shards import ShardSet
from tests.pipeline.little_run import fit, fit_forms

THINGS, COLOURS, PLACES = ("dog", "cat", "bus", "boat"), ("red", "blue", "green"), ("beach", "street", "field")
SAYINGS = ("A {c} {t} on the {p}.", "the {t} is {c}", "There are two {c} {t}s!", "{p} with a {t}", "A picture of a {c} {t} at a {p}")
FORMS: dict[str, dict[str, Any]] = {
    "ours": {"queue_size": 20},
    "plain": {"queue_size": 0, "diversity": 0.0, "concepts": False},
    "tokens": {"queue_size": 7, "text": "tokens", "diversity": 1.0, "mask_shared_queries": False},
}
"""Settings of the runs that ranks are compared by: with the whole and with none of the paper's parts, and over a BERT."""


def write_captions(root: Path, splits: tuple[str, ...] = ("train", "dev"), repeated: bool = False, seed: int = 0) -> Path:
    """36 images of every thing, colour and place to train on, and for each other split 12 of them, otherwise drawn."""
    rng = np.random.default_rng(seed)
    looks = {name: rng.standard_normal(10) for name in (*THINGS, *COLOURS, *PLACES)}
    root.mkdir(parents=True, exist_ok=True)
    for split in splits:
        shown = list(product(THINGS, COLOURS, PLACES))
        if split != "train":
            shown = [shown[place] for place in rng.permutation(len(shown))[:12]]
        images = np.stack([[*(looks[name] for name in names), np.zeros(10)] for names in shown]) + 0.2 * rng.standard_normal((len(shown), 4, 10))
        np.save(root / f"{split}_ims.npy", np.repeat(images, 5 if repeated else 1, axis=0).astype(np.float32))
        lines = [saying.format(t=thing, c=colour, p=place) for thing, colour, place in shown for saying in SAYINGS]
        (root / f"{split}_caps.txt").write_text("".join(f"{line}\n" for line in lines))
    return root


def packed_captions(folder: Path) -> Path:
    """The corpus, packed: folder of its splits."""
    pack(write_captions(folder / "corpus"), folder / "shards", workers=1, shard_samples=50, vocab_size=200)
    return folder / "shards"


def recipe(steps: int, trainer: dict[str, Any] | None = None, **system: Any) -> Recipe:
    """CODER at a size that takes a moment: batches of 12 pairs, no dropout."""
    smoke = resolve("coder:smoke")
    sizes = {"width": 16, "word_dim": 12, "concept_hidden": 12, "concept_count": 8, "clusters": 4, "dropout": 0.0, "momentum": 0.9, "least_count": 1}
    return dataclasses.replace(
        smoke,
        system=CODERSettings(**{**sizes, "queue_size": 20, **system}),
        stream=dataclasses.replace(smoke.stream, batch_size=12, workers=0),
        # A large eps: Adam divides a gradient that is nothing but rounding by its own size, which makes steps of rounding errors.
        optim=Optim(lr=0.01, eps=0.01, schedule="constant"),
        trainer=Trainer(
            **{"epochs": 1000, "max_steps": steps, "precision": "fp32", "log_every": 1, "seed": 1, "best_metric": "rsum", **(trainer or {})}
        ),
    )


def new_system(recipe: Recipe, shards: ShardSet) -> CODER:
    seed_everything(recipe.trainer.seed)
    return build(recipe, shards.tokenizer(), shards)


def train(recipe: Recipe, shards: ShardSet, out: Path, validation: ShardSet | None = None) -> CODER:
    """Train, going on from a checkpoint that is there; returns the trained system."""
    return fit(recipe, new_system(recipe, shards), shards, out, validation)


def main(argv: list[str]) -> None:
    fit_forms(train, recipe, FORMS, argv)
