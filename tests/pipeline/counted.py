"""A system that learns nothing and writes down which items it was given, trained by any number of ranks and workers.

torchrun --nproc_per_node R -m tests.pipeline.counted SHARDS OUT STEPS WORKERS
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from launch import distributed
from pipeline.item import Query
from pipeline.recipe import Optim, Trainer, resolve
from pipeline.shards import Sample, ShardSet
from pipeline.system import Batch, Preparation, System
from tests.pipeline.little_run import fit

BATCH = 6


class Numbers(Preparation):
    """The digits of each item's id behind a 1, and whether it is a clip, are all that its row holds."""

    def sample(self, sample: Sample, rng: np.random.Generator | None, query: Query | None) -> dict[str, Any]:
        digits = "".join(letter for letter in sample.id if letter.isdigit())
        return {"item": int("1" + digits), "clip": sample.domain == "video"}

    def collate(self, rows: list[dict[str, Any]]) -> Batch:
        return {name: torch.tensor([row[name] for row in rows]) for name in ("item", "clip")}


class Counted(System):
    """Appends the items of each forward to FOLDER/seen-RANK-of-RANKS.jsonl."""

    embedding_dim = 1

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder, self.weight = folder, nn.Parameter(torch.zeros(1))

    def preparation(self, training: bool) -> Preparation:
        return Numbers()

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        names = [f"{'v' if clip else 'g'}{str(item)[1:]}" for item, clip in zip(batch["item"].tolist(), batch["clip"].tolist())]
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / f"seen-{distributed.rank()}-of-{distributed.world_size()}.jsonl", "a") as file:
            file.write(json.dumps(names) + "\n")
        return {"row": self.weight.expand(len(names))}

    def losses(self, rows: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        return {"nothing": rows["row"].sum() * 0}

    def embed(self, batch: Batch, domain: str) -> Tensor:
        return self.encode(batch)["row"][:, None]

    def parts(self) -> dict[str, nn.Module]:
        return {"all": self}

    def describe(self) -> dict[str, Any]:
        return {}


def count(shards: Path, out: Path, steps: int, workers: int) -> None:
    """Train in all `steps` steps over epochs of the document policy, going on from where the run in `out` stands."""
    smoke = resolve("qcd:smoke")
    stream = dataclasses.replace(smoke.stream, policy="document", batch_size=BATCH, workers=workers, window_shards=2)
    trainer = Trainer(epochs=2, max_steps=steps, precision="fp32", log_every=1)
    fit(dataclasses.replace(smoke, stream=stream, trainer=trainer, optim=Optim()), Counted(out / "seen"), ShardSet(shards), out)


def main(argv: list[str]) -> None:
    shards, out, steps, workers = argv
    distributed.start("cpu", timeout_s=120)
    count(Path(shards), Path(out), int(steps), int(workers))
    distributed.stop()
