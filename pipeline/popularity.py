"""Popularity: the label of an item that a system may predict, and the predictions for a split.

The predictions of a checkpoint are a dump of width 1 (`pipeline.embed`), so ranks, restarts and items that cannot be read are as they are there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from evaluate.dump import Dump
from evaluate.embeddings import ANY_ROLE
from evaluate.ids import decode_ids
from evaluate.judging.prediction_metrics import prediction_metrics
from evaluate.labels import LabelValues
from evaluate.vectors import Vectors
from launch.distributed import broadcast_object
from launch.logs import is_main
from pipeline.bad_items import USUAL, BadItems
from pipeline.embed import embed_shards
from pipeline.recipe import Recipe
from pipeline.shards import ShardSet
from pipeline.system import Batch, Embedder, Preparation, System

POPULARITY = "popularity"
"""Name of the label, and of the task of predicting it. It is predicted as it stands: where counts are meant, it is their logarithm."""


def popularity_of(labels: Mapping[str, Any], where: str) -> float | None:
    """An item's popularity, None where it has none. Raises ValueError where it is no finite number; `where` names the item."""
    value = labels.get(POPULARITY)
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(f"{where}: its popularity is {value!r}; wanted a number (the logarithm of a count), or none")
    return float(value)


def popularity_in(vectors: Vectors) -> np.ndarray:
    """float64 [N]: the popularity of every row of a dump, nan where it has none."""
    values = LabelValues()
    codes = np.concatenate([np.zeros(0, np.int32), *vectors.label_blocks(POPULARITY, values)])
    return np.array([*(popularity_of({POPULARITY: json.loads(text)}, vectors.name) for text in values.texts), np.nan], np.float64)[codes]


@dataclass(frozen=True)
class Predictions:
    """ids [N], predicted float64 [N], true float64 [N] (nan where an item has no popularity), failed: items that could not be read."""

    ids: list[str]
    predicted: np.ndarray
    true: np.ndarray
    failed: int

    @property
    def known(self) -> np.ndarray:
        """bool [N]: which have a popularity to compare with."""
        return np.isfinite(self.true)


class Predictor(Embedder):
    """What a system predicts as vectors of width 1."""

    embedding_dim, normalised = 1, False

    def __init__(self, system: System) -> None:
        super().__init__()
        self._system = system

    def embed(self, batch: Batch, domain: str) -> Tensor:
        return self._system.predict(batch)[:, None]

    def preparation(self, training: bool) -> Preparation:
        return self._system.preparation(training)


def predict_shards(
    system: System,
    shards: ShardSet,
    out: Path,
    *,
    recipe: Recipe,
    checkpoint: str,
    device: torch.device,
    precision: str,
    batch_size: int,
    workers: int,
    bad_items: BadItems = USUAL,
    quiet: bool = False,
) -> Predictions:
    """The predictions for a split, from the dump `out`, which is made as far as it is not there; all ranks of a job call it together.

    Arguments as of `pipeline.embed.embed_shards`.

    Raises:
        ValueError: the system predicts nothing, the split lacks what it needs, or more of its items cannot be read than may be.
    """
    if not system.predicted_domain:
        raise ValueError(f"{type(system).__name__} predicts no popularity; use a checkpoint of a recipe that does (mmra)")
    system.require(shards)
    embed_shards(
        Predictor(system),
        shards,
        system.predicted_domain,
        out,
        recipe=recipe,
        checkpoint=checkpoint,
        device=device,
        precision=precision,
        batch_size=batch_size,
        workers=workers,
        bad_items=bad_items,
        quiet=quiet,
    )
    return broadcast_object(_read(out) if is_main() else None)  # type: ignore[return-value]


def _read(folder: Path) -> Predictions:
    rows = Dump(folder).side(ANY_ROLE)
    predicted = np.concatenate([block[:, 0] for _, block in rows.blocks()]).astype(np.float64)
    return Predictions(decode_ids(rows.ids()), predicted, popularity_in(rows), rows.failed)


def metrics_of(predictions: Predictions) -> dict[str, float]:
    """MAE, nMSE and Spearman over the items whose popularity is known (`evaluate.judging.prediction_metrics`); nan where one is not defined.

    Raises ValueError where no item has a popularity.
    """
    known = predictions.known
    if not known.any():
        raise ValueError(f"none of {len(known)} items has a popularity to compare with; give them a label popularity, or choose another split")
    return prediction_metrics(predictions.predicted[known], predictions.true[known])
