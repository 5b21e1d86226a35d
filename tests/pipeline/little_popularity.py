"""A catalogue of clips whose popularity follows a known law, and MMRA runs on it that take a moment; also run by torchrun in test_mmra_ranks.

torchrun --nproc_per_node R -m tests.pipeline.little_popularity FEATURES OUT

The law: every clip is of a kind, and popularity = level of the kind + content + a little noise. Its words tell the kind, and so its neighbours,
but kinds are so many and of so few clips each that their levels cannot be learnt from words; its frames tell the content, which
neighbours do not know.
"""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from launch import distributed
from launch.seeds import seed_everything
from pipeline.neighbours import main as find_neighbours
from pipeline.pack import pack
from pipeline.predict import main as predict
from pipeline.recipe import Optim, Recipe, Trainer, resolve
from pipeline.recipes.mmra.build import build
from pipeline.recipes.mmra.settings import MMRASettings
from pipeline.recipes.mmra.system import MMRA
from pipeline.shards import ShardSet
from tests.pipeline.corpora import write_catalog
from tests.pipeline.little_pairs import npy
from tests.pipeline.little_run import fit

SPLITS = ("train", "train", "train", "train", "val", "test")
"""Splits of the clips of a kind."""


def write_law(root: Path, kinds: int = 12, seed: int = 0) -> Path:
    """Six clips of each kind: four in train, one each in val and test."""
    rng = np.random.default_rng(seed)
    names, levels = rng.standard_normal((kinds, 8)), 1.5 * rng.standard_normal(kinds)
    records: list[dict[str, Any]] = []
    files: dict[str, str | bytes] = {}
    for kind in range(kinds):
        for number, split in enumerate(SPLITS):
            stem = f"{kind}_{number}"
            frames = rng.standard_normal((2, 4))
            popularity = 5 + levels[kind] + frames[:, 0].sum() + 0.05 * rng.standard_normal()
            files[f"{stem}.vision.npy"] = npy(frames.astype(np.float32))
            files[f"{stem}.words.npy"] = npy((names[kind] + 0.1 * rng.standard_normal(8)).astype(np.float32))
            features = {"vision": f"{stem}.vision.npy", "words": f"{stem}.words.npy"}
            labels = {"popularity": round(float(popularity), 6)}
            records.append({"id": f"c{stem}", "domain": "video", "split": split, "features": features, "labels": labels})
    return write_catalog(root, records, files)


def packed_law(folder: Path, *flags: str, kinds: int = 12, seed: int = 0) -> Path:
    """The catalogue, packed, with neighbours by words: folder of its splits."""
    shards = folder / "shards"
    pack(write_law(folder / "corpus", kinds, seed), shards, workers=1, shard_samples=20, vocab_size=0)
    find(shards, *flags)
    return shards


def find(shards: Path, *flags: str) -> None:
    """Find the neighbours of the splits in `shards` by their words."""
    find_neighbours(["--data", str(shards), "--text", "none", "--features", "[words]", "--kept", "5", "--workers", "0", *flags])


def recipe(steps: int, trainer: dict[str, Any] | None = None, **system: Any) -> Recipe:
    """MMRA at a size that takes a moment."""
    smoke = resolve("mmra:smoke")
    sizes = {"width": 16, "hidden": (16,), "neighbours": 3, "temperature": 0.1}
    return dataclasses.replace(
        smoke,
        system=MMRASettings(**{**sizes, **system}),
        stream=dataclasses.replace(smoke.stream, batch_size=12, workers=0),
        # A large eps: Adam divides a gradient that is nothing but rounding by its own size, which makes steps of rounding errors.
        optim=Optim(lr=0.01, eps=1e-3, schedule="constant"),
        trainer=Trainer(**{"epochs": 1000, "max_steps": steps, "precision": "fp32", "log_every": 1, "seed": 1, **(trainer or {})}),
    )


def new_system(recipe: Recipe, shards: ShardSet) -> MMRA:
    seed_everything(recipe.trainer.seed)
    return build(recipe, None, shards)


def train(recipe: Recipe, shards: ShardSet, out: Path, validation: ShardSet | None = None) -> MMRA:
    """Train, going on from a checkpoint that is there; returns the trained system."""
    return fit(recipe, new_system(recipe, shards), shards, out, validation)


def train_and_predict(features: Path, out: Path) -> None:
    """Three steps with a validation at the end, then the test split's predictions below OUT/test, and the neighbours found anew in OUT/features."""
    train(recipe(3, {"validate_every": 3, "best_metric": "popularity/nmse"}), ShardSet(features / "train"), out, ShardSet(features / "val"))
    predict(["--checkpoint", str(out), "--data", str(features), "--out", str(out / "test"), "--workers", "0", "--baselines", "none"])
    if distributed.rank() == 0:
        shutil.copytree(features, out / "features", ignore=shutil.ignore_patterns("bank", "neighbours.*"))
    distributed.barrier()
    find(out / "features")


def main(argv: list[str]) -> None:
    """`train_and_predict` from the features of the first argument into the second one."""
    features, out = argv
    distributed.start("cpu", timeout_s=120)
    train_and_predict(Path(features), Path(out))
    distributed.stop()
