"""A catalogue of frozen features, clips and goods with categories, and MQMC runs on it that take a moment; also run by torchrun in
test_mqmc_ranks.

torchrun --nproc_per_node R -m tests.pipeline.little_pairs SHARDS OUT
"""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np

from launch.seeds import seed_everything
from pipeline.pack import pack
from pipeline.recipe import Optim, Recipe, Trainer, resolve
from pipeline.recipes.mqmc.build import build
from pipeline.recipes.mqmc.settings import MQMCSettings
from pipeline.recipes.mqmc.system import MQMC
from pipeline.shards import Sample, ShardSet
from tests.pipeline.corpora import write_catalog
from tests.pipeline.little_run import fit, fit_forms

FORMS: dict[str, dict[str, Any]] = {
    "ours": {"queue_size": 2},
    "released": {"queue_size": 3, "weighting": "released", "feature_contrast": "released", "empty_slots": "random", "mask_shared_queries": False},
}
"""Settings of the runs that ranks are compared by; queues so small that a batch overruns them."""


def npy(values: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, np.asarray(values), allow_pickle=False)
    return file.getvalue()


def write_pairs(root: Path, products: int = 8, clips: int = 3) -> Path:
    """`products` goods, `clips` training clips and one test clip of each, in two departments and four shelves. Vision has 6 features on both
    sides, clips keep their two frames apart; words have 4, and every third clip has none."""
    rng = np.random.default_rng(0)
    looks = rng.standard_normal((products, 6))
    records: list[dict[str, Any]] = []
    files: dict[str, str | bytes] = {}
    for product in range(products):
        category = [f"department {product % 2}", f"shelf {product % 4}", f"kind {product}"]
        files |= {f"goods/{product}.npy": npy(looks[product].astype(np.float32)), f"words/{product}.npy": npy(looks[product, :4].astype(np.float16))}
        good = {"id": f"g{product}", "domain": "goods", "queries": [f"item {product}"], "labels": {"category": category}}
        good["features"] = {"vision": f"goods/{product}.npy", "words": f"words/{product}.npy"}
        records += [good | {"split": split} for split in ("train", "test")]
        for clip in range(clips + 1):
            name = f"clips/{product}_{clip}.npy"
            files[name] = npy((looks[product] + 0.3 * rng.standard_normal((2, 6))).astype(np.float32))
            features = {"vision": name} | ({"words": f"words/{product}.npy"} if (product + clip) % 3 else {})
            record = {"id": f"v{product}_{clip}", "domain": "video", "queries": [f"item {product}"], "features": features}
            records.append(record | {"split": "train" if clip < clips else "test"})
    return write_catalog(root, records, files)


def packed_pairs(folder: Path) -> Path:
    """The catalogue, packed: folder of its splits."""
    pack(write_pairs(folder / "corpus"), folder / "shards", workers=1, shard_samples=5, vocab_size=0)
    return folder / "shards"


def sample(shards: ShardSet, domain: str, id: str) -> Sample:
    """The item of a split."""
    for number in shards.of_domain(domain):
        shard = shards.shard(number)
        if id in shard.ids:
            return shard.sample(list(shard.ids).index(id))
    raise KeyError(id)


def recipe(steps: int, trainer: dict[str, Any] | None = None, **system: Any) -> Recipe:
    """MQMC at a size that takes a moment: batches of 12 pairs, no dropout."""
    smoke = resolve("mqmc:smoke")
    sizes = {"dim": 8, "width": 16, "hidden": 12, "queue_size": 6, "momentum": 0.9, "batch_norm": "synchronised"}
    return dataclasses.replace(
        smoke,
        system=MQMCSettings(**{**sizes, **system}),
        stream=dataclasses.replace(smoke.stream, batch_size=12, workers=0),
        # A large eps: Adam divides a gradient that is nothing but rounding by its own size, which makes steps of rounding errors.
        optim=Optim(lr=0.01, eps=0.01, schedule="constant"),
        trainer=Trainer(**{"epochs": 1000, "max_steps": steps, "precision": "fp32", "log_every": 1, "seed": 1, **(trainer or {})}),
    )


def new_system(recipe: Recipe, shards: ShardSet) -> MQMC:
    seed_everything(recipe.trainer.seed)
    return build(recipe, None, shards)


def train(recipe: Recipe, shards: ShardSet, out: Path, validation: ShardSet | None = None) -> MQMC:
    """Train, going on from a checkpoint that is there; returns the trained system."""
    return fit(recipe, new_system(recipe, shards), shards, out, validation)


def main(argv: list[str]) -> None:
    fit_forms(train, recipe, FORMS, argv)
