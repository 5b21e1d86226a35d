"""What each part of CODER does: plain InfoNCE, then queues, diversity weights, concepts and pseudo labels, one after the other, several seeds each.

    python benchmarks/coder_ablation.py --corpus CORPUS --vision models/mobilenet_v2 --out OUT [--seeds 5] [--steps 1200]

CORPUS is what pipeline.sources.sample writes (--products 720 --clips_per_product 3); it is made into images and captions first
(`benchmarks/sample_captions.py`). Every run trains `coder:smoke` in batches of 16 and is measured on the test split, by the trainer, the search and
the metrics of any run. A run that is in OUT is not trained again. R@1 both ways and rsum of each variant are means over seeds with 95 % intervals
(Student's t over seeds); so are differences from the variant before, seed by seed. The seeds change weights, order and dropout, and not the corpus.
The last line is one JSON object.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

if not __package__:  # started as a file: the rooms are beside its folder
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import numpy as np
import torch
from scipy.stats import t as student

from benchmarks.sample_captions import write_captions
from evaluate.judging.image_text import RSUM
from launch.command import CommandParser, run_command
from launch.files import read_json, write_json
from launch.logs import say
from launch.seeds import seed_everything
from pipeline.pack import pack
from pipeline.recipe import Recipe, resolve
from pipeline.recipes.coder import build
from pipeline.shards import ShardSet
from pipeline.training.trainer import Trainer
from pipeline.training.validation import validate

PARTS: dict[str, dict[str, Any]] = {
    "plain InfoNCE": {"queue_size": 0, "diversity": 0.0, "concepts": False, "cluster_weight": 0.0},
    "+ queues": {"queue_size": 512},
    "+ diversity weights": {"diversity": 0.5},
    "+ concepts": {"concepts": True},
    "+ pseudo labels": {"cluster_weight": 0.1},
}
"""Each variant has the settings of those before it, and its own."""
BATCH_SIZE, RATE = 16, 5e-4
"""A batch of the smoke recipe's 64 has a tenth of all images, as no batch of a real corpus does, and leaves queues nothing to add."""
SHOWN = {"image2text R@1": "image2text/hit@1", "text2image R@1": "text2image/hit@1", RSUM: RSUM}
"""Number -> metric of a validation, which has hit rates as shares."""


def recipe_of(variant: str, seed: int, steps: int) -> Recipe:
    """`coder:smoke` with the parts up to `variant`."""
    smoke = resolve("coder:smoke")
    settings: dict[str, Any] = {}
    for name, own in PARTS.items():
        settings |= own
        if name == variant:
            break
    return dataclasses.replace(
        smoke,
        system=dataclasses.replace(smoke.system, **settings),
        stream=dataclasses.replace(smoke.stream, batch_size=BATCH_SIZE),
        optim=dataclasses.replace(smoke.optim, lr=RATE),
        trainer=dataclasses.replace(smoke.trainer, seed=seed, max_steps=steps, checkpoint_every=steps, precision="fp32"),
    )


def measure(recipe: Recipe, shards: Path, out: Path) -> dict[str, float]:
    """Train on the train split and measure on the test split, unless it was done; the metrics are in `out`/metrics.json."""
    path = out / "metrics.json"
    if not path.is_file():
        train, test, device = ShardSet(shards / "train"), ShardSet(shards / "test"), torch.device("cpu")
        seed_everything(recipe.trainer.seed)
        system = build(recipe, train.tokenizer(), train)
        Trainer(recipe, system, train, None, out, device).fit()
        write_json(path, validate(system, test, recipe, out / "test", "final", device, "fp32"))
    found = read_json(path)
    return {name: found[metric] * (1 if metric == RSUM else 100) for name, metric in SHOWN.items()}


def with_interval(values: Sequence[float]) -> dict[str, Any]:
    """Mean and 95 % interval of the mean of `values`, which are taken to be normal; no interval of one value."""
    mean, count = float(np.mean(values)), len(values)
    if count == 1:
        return {"mean": mean, "values": list(values)}
    half = float(student.ppf(0.975, count - 1) * np.std(values, ddof=1) / count**0.5)
    return {"mean": mean, "interval": [mean - half, mean + half], "values": list(values)}


def in_words(name: str, found: dict[str, Any]) -> str:
    ends = f" ({found['interval'][0]:.1f} to {found['interval'][1]:.1f})" if "interval" in found else ""
    return f"{name} {found['mean']:.1f}{ends}"


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and measure."""
    parser = CommandParser(prog="python benchmarks/coder_ablation.py", description=__doc__)
    parser.add_argument("--corpus", required=True, help="folder that pipeline.sources.sample wrote")
    parser.add_argument("--vision", required=True, help="transformers model folder whose map gives the regions, e.g. mobilenet_v2")
    parser.add_argument("--out", required=True, help="folder for captions, shards and runs")
    parser.add_argument("--seeds", type=int, default=5, help="runs of each variant (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=1200, help="training steps of a run (default: %(default)s)")
    given = parser.parse_args(argv)
    out = Path(given.out)
    corpus = write_captions(Path(given.corpus), Path(given.vision), out / "captions")
    shards = out / "shards"
    pack(corpus, shards, workers=1, shard_samples=500, vocab_size=2000)
    rows: dict[str, dict[str, list[float]]] = {}
    result: dict[str, Any] = {}
    former = ""
    for variant in PARTS:
        runs = [
            measure(recipe_of(variant, seed, given.steps), shards, out / f"{variant.strip('+ ').replace(' ', '_')}-{seed}")
            for seed in range(given.seeds)
        ]
        rows[variant] = {name: [run[name] for run in runs] for name in SHOWN}
        result[variant] = {name: with_interval(values) for name, values in rows[variant].items()}
        say(f"{variant}: {', '.join(in_words(name, result[variant][name]) for name in SHOWN)}")
        if former:
            moved = {name: with_interval(np.subtract(rows[variant][name], rows[former][name]).tolist()) for name in SHOWN}
            result[variant]["difference"] = moved
            say(f"  than {former}: {', '.join(in_words(name, moved[name]) for name in SHOWN)}")
        former = variant
    counts = {split: ShardSet(shards / split).counts for split in ("train", "test")}
    say(json.dumps({"benchmark": "coder_ablation", "steps": given.steps, "seeds": given.seeds, "items": counts, "variants": result}))


if __name__ == "__main__":
    run_command(main)
