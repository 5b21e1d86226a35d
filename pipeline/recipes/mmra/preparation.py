"""Clips and their neighbours as batches of frozen features.

Legend: B clips, k neighbours, T frames and L vectors of words of the clip that has most, C and D features.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.bank.lists import NeighbourLists
from pipeline.feature_member import read_feature
from pipeline.item import Query
from pipeline.popularity import popularity_of
from pipeline.recipes.mmra.sizes import MODALITIES, REMEDY, Sizes, known_popularity
from pipeline.shards import Sample
from pipeline.system import Batch, Preparation

Features = dict[str, np.ndarray | None]
"""[N, C] of each modality that is looked at."""


class NeighbourPreparation(Preparation):
    """A batch of B clips holds

        vision, words                       float32 [B, T, C], [B, L, D], zeros where a clip lacks a frame or the modality
        has_vision, has_words               bool [B, T], [B, L]
        popularity                          float32 [B], nan where it is not known (in evaluation, and of a clip that could not be read)

    and with neighbours, of which a clip may have fewer than k,

        similarity, labels, present         float32 [B, k] twice, bool [B, k]
        near_vision, near_words             float32 [B, k, T, C], [B, k, L, D]
        near_has_vision, near_has_words     bool [B, k, T], [B, k, L]

    The lists of a clip's neighbours lie beside the shards that it is in.

    Args:
        sizes: C and D; a modality of width 0 is not read.
        neighbours: k; 0: none are looked at.
        remember_mb: megabytes of neighbours' features that are kept, the first that come.
    """

    def __init__(self, sizes: Sizes, neighbours: int, remember_mb: int = 0) -> None:
        self._widths = {name: getattr(sizes, name) for name in MODALITIES if getattr(sizes, name)}
        self._neighbours = neighbours
        self._lists: dict[Path, NeighbourLists] = {}
        self._remembered: dict[tuple[Path, str, int], Features] = {}
        self._room = self._most = remember_mb << 20

    def sample(self, sample: Sample, rng: np.random.Generator | None, query: Query | None) -> dict[str, Any]:
        row: dict[str, Any] = {"features": self._features(sample)}
        if all(array is None for array in row["features"].values()):
            raise ValueError(f"{sample.name} has neither {' nor '.join(f'{name}.npy' for name in self._widths)}; {REMEDY}")
        known = known_popularity(sample) if rng is not None else popularity_of(sample.record["labels"], sample.name)
        row["popularity"] = np.nan if known is None else known
        if self._neighbours:
            lists = self._lists_of(sample)
            row["neighbours"] = lists.of(sample)[: self._neighbours]
            row["near"] = [self._near_features(lists.sample(one)) for one in row["neighbours"]]
        return row

    def absent(self, domain: str) -> dict[str, Any]:
        """A clip without features, neighbours and popularity."""
        return {"features": dict.fromkeys(self._widths), "popularity": np.nan, "neighbours": [], "near": []}

    def _features(self, sample: Sample) -> Features:
        found: Features = {}
        for name, width in self._widths.items():
            array = read_feature(sample, name)
            if array is not None and array.shape[-1] != width:
                raise ValueError(f"{sample.name}: {name}.npy has {array.shape[-1]} features, those that the system was built for have {width}")
            found[name] = array if array is None or array.ndim == 2 else array[None]
        return found

    def _near_features(self, sample: Sample) -> Features:
        key = (_folder(sample), sample.shard, sample.row)
        if (known := self._remembered.get(key)) is not None:
            return known
        found = self._features(sample)
        size = sum(array.nbytes for array in found.values() if array is not None)
        if size <= self._room:
            self._remembered[key] = found
            self._room -= size
        return found

    def _lists_of(self, sample: Sample) -> NeighbourLists:
        folder = _folder(sample)
        if folder not in self._lists:
            self._lists[folder] = NeighbourLists(folder)
        return self._lists[folder]

    def collate(self, rows: list[dict[str, Any]]) -> Batch:
        batch: Batch = {"popularity": torch.tensor([row["popularity"] for row in rows], dtype=torch.float32)}
        for name in self._widths:
            values, has = self._stacked([row["features"][name] for row in rows], name)
            batch |= {name: values, f"has_{name}": has}
        if self._neighbours:
            batch |= self._near(rows)
        return batch

    def _near(self, rows: list[dict[str, Any]]) -> Batch:
        k = self._neighbours
        similarity, labels = (torch.zeros(len(rows), k) for _ in range(2))
        present = torch.zeros(len(rows), k, dtype=torch.bool)
        for place, row in enumerate(rows):
            found = row["neighbours"]
            if not len(found):
                continue
            similarity[place, : len(found)] = torch.from_numpy(found["similarity"].copy())
            labels[place, : len(found)] = torch.from_numpy(found["label"].copy())
            present[place, : len(found)] = True
        batch: Batch = {"similarity": similarity, "labels": labels, "present": present}
        for name in self._widths:
            padded = [one for row in rows for one in [*(near[name] for near in row["near"]), *[None] * (k - len(row["near"]))]]
            values, has = self._stacked(padded, name)
            batch |= {f"near_{name}": values.unflatten(0, (-1, k)), f"near_has_{name}": has.unflatten(0, (-1, k))}
        return batch

    def _stacked(self, arrays: list[np.ndarray | None], name: str) -> tuple[torch.Tensor, torch.Tensor]:
        """([n, N, C] filled up with zeros, bool [n, N])."""
        longest = max((len(array) for array in arrays if array is not None), default=1)
        values = np.zeros((len(arrays), longest, self._widths[name]), np.float32)
        has = np.zeros((len(arrays), longest), bool)
        for place, array in enumerate(arrays):
            if array is not None:
                values[place, : len(array)], has[place, : len(array)] = array, True
        return torch.from_numpy(values), torch.from_numpy(has)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_lists": {}, "_remembered": {}, "_room": self._most}


def _folder(sample: Sample) -> Path:
    """Of the split that a sample is in."""
    return sample.span("json")[0].parent
