"""Pairs of a clip and its good as batches of frozen features.

Legend: B pairs or items, C features of a modality.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from pipeline.item import CLIPS, NO_QUERY, Query
from pipeline.recipes.mqmc.categories import Categories
from pipeline.recipes.mqmc.sizes import MODALITIES, REMEDY, Sizes, read_feature, side_of
from pipeline.shards import Sample
from pipeline.system import Batch, Preparation


class PairPreparation(Preparation):
    """A training batch of B pairs, from 2 B rows that are by turns a clip and its good, holds for both sides

        video_vision, video_words, goods_vision, goods_words            float32 [B, C], zeros where an item lacks the modality
        video_has_vision, video_has_words, goods_has_vision, ...         bool [B]

    and of each pair `middle` int64 [B], the number of the good's middle category, and `query` int64 [B], the number of the query that clip and
    good have in common. A batch of items of one domain, which is for evaluation, holds `vision`, `words`, `has_vision` and `has_words`.

    Args:
        sizes: C of each side's modalities. A modality of width 0 is not read.
        categories: number those of goods.
        scale: give each feature vector the length sqrt(C); one of zeros stays.

    A pair of which one could not be read has neither: both sides lack all modalities, `middle` is 0 and `query` -1.
    """

    def __init__(self, sizes: Sizes, categories: Categories, scale: bool = False) -> None:
        self._sizes, self._categories, self._scale = sizes, categories, scale

    def sample(self, sample: Sample, rng: np.random.Generator | None, query: Query | None) -> dict[str, Any]:
        row: dict[str, Any] = {"name": sample.name, "domain": sample.domain, "query": query}
        for modality in MODALITIES:
            width = getattr(self._sizes.of(sample.domain), modality)
            feature = read_feature(sample, modality) if width else None
            if feature is not None and len(feature) != width:
                raise ValueError(f"{sample.name}: {modality}.npy has {len(feature)} features, those that the system was built for have {width}")
            if feature is not None and self._scale:
                feature = feature * (len(feature) ** 0.5 / max(float(np.linalg.norm(feature)), 1e-12))
            row[modality] = feature
        if all(row[modality] is None for modality in MODALITIES):
            raise ValueError(f"{sample.name} has neither vision.npy nor words.npy; {REMEDY}")
        if query is not None and sample.domain == "goods":
            row["middle"] = self._categories.middle_of(sample.record["labels"], sample.name)
        return row

    def absent(self, domain: str) -> dict[str, Any]:
        return {"name": "", "domain": domain, "query": NO_QUERY, "middle": 0, **dict.fromkeys(MODALITIES)}

    def collate(self, rows: list[dict[str, Any]]) -> Batch:
        if rows[0]["query"] is None:
            return self._features(rows)
        pairs = [self._pair(clip, good) for clip, good in zip(rows[::2], rows[1::2], strict=True)]
        clips, goods = [clip for clip, _ in pairs], [good for _, good in pairs]
        for clip, good in pairs:
            if clip["domain"] not in CLIPS or good["domain"] != "goods" or clip["query"].id != good["query"].id:
                raise ValueError(f"{clip['name']} and {good['name']} are no pair of a clip and its good; mqmc needs --stream.policy pairs")
        batch = {f"{side}_{name}": value for side, part in (("video", clips), ("goods", goods)) for name, value in self._features(part).items()}
        batch["middle"] = torch.tensor([good["middle"] for good in goods])
        batch["query"] = torch.tensor([good["query"].id for good in goods])
        return batch

    def _pair(self, clip: dict[str, Any], good: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """The two rows, or two absent ones where either is."""
        if NO_QUERY in (clip["query"], good["query"]):
            return self.absent(clip["domain"]), self.absent(good["domain"])
        return clip, good

    def _features(self, rows: list[dict[str, Any]]) -> Batch:
        side = side_of(rows[0]["domain"])
        batch: Batch = {}
        for modality in MODALITIES:
            features = np.zeros((len(rows), getattr(getattr(self._sizes, side), modality)), dtype=np.float32)
            for place, row in enumerate(rows):
                if row[modality] is not None:
                    features[place] = row[modality]
            batch[modality] = torch.from_numpy(features)
            batch[f"has_{modality}"] = torch.tensor([row[modality] is not None for row in rows])
        return batch
