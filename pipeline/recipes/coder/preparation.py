"""Pairs of an image and a caption as batches of regions and words.

Legend: B pairs or items, N regions of the image that has most, D features of a region, L words of the longest caption, K concepts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from pipeline.concepts.counts import Concepts
from pipeline.item import NO_QUERY, Query
from pipeline.recipes.coder.settings import CODERSettings
from pipeline.regions import read_regions, region_batch
from pipeline.shards import Sample
from pipeline.system import Batch, Preparation
from pipeline.words import Vocabulary, word_batch

REMEDY = "coder learns from regions of images and captions: pack a corpus that has them (scan)"
CAPTION = "caption"


class CaptionPreparation(Preparation):
    """A training batch of B pairs, from 2 B rows that are by turns a caption and its image, holds

        regions float32 [B, N, D], has_regions bool [B, N]
        words int64 [B, L], has_words bool [B, L], concepts bool [B, K]
        image int64 [B], the number of the query that image and caption have in common

    A batch of items of one domain, which is for evaluation, holds its part of these. A pair of which one could not be read has neither regions nor
    words, and `image` is -1.

    Args:
        region_dim: D.
        words: the vocabulary of whole words, or the folder of a tokenizer.
        concepts: K of them; None where there is no concept branch.
    """

    def __init__(self, settings: CODERSettings, region_dim: int, words: Vocabulary | Path, concepts: Concepts | None) -> None:
        self._settings, self._region_dim, self._words, self._concepts = settings, region_dim, words, concepts
        self._tokenizer: Any = None

    def sample(self, sample: Sample, rng: np.random.Generator | None, query: Query | None) -> dict[str, Any]:
        row: dict[str, Any] = {"name": sample.name, "domain": sample.domain, "query": query}
        if sample.domain == "image":
            row["regions"] = read_regions(sample, self._region_dim, self._settings.most_regions)
            if row["regions"] is None:
                raise ValueError(f"{sample.name} has no regions.npy; {REMEDY}")
            return row
        caption = sample.words().get(CAPTION, "")
        if not caption:
            raise ValueError(f"{sample.name} has no caption; {REMEDY}")
        row["words"] = self._numbers(caption)
        row["concepts"] = self._concepts.of(caption) if self._concepts is not None else []
        return row

    def _numbers(self, caption: str) -> list[int]:
        """The words' numbers, with those of beginning and end."""
        most = self._settings.caption_length
        if isinstance(self._words, Vocabulary):
            return self._words.ids(caption, most)
        if self._tokenizer is None:
            self._tokenizer = transformers.AutoTokenizer.from_pretrained(self._words, local_files_only=True, trust_remote_code=False)
        numbers: list[int] = self._tokenizer(caption, truncation=True, max_length=most)["input_ids"]
        return numbers

    def absent(self, domain: str) -> dict[str, Any]:
        return {"name": "", "domain": domain, "query": NO_QUERY, "regions": None, "words": [], "concepts": []}

    def collate(self, rows: list[dict[str, Any]]) -> Batch:
        if rows[0]["query"] is None:
            return self._regions(rows) if rows[0]["domain"] == "image" else self._captions(rows)
        pairs = [self._pair(caption, image) for caption, image in zip(rows[::2], rows[1::2], strict=True)]
        captions, images = [caption for caption, _ in pairs], [image for _, image in pairs]
        for caption, image in pairs:
            if (caption["domain"], image["domain"]) != ("text", "image") or caption["query"].id != image["query"].id:
                raise ValueError(f"{caption['name']} and {image['name']} are no caption and its image; coder needs --stream.policy captions")
        return self._regions(images) | self._captions(captions) | {"image": torch.tensor([image["query"].id for image in images])}

    def _pair(self, caption: dict[str, Any], image: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """The two rows, or two absent ones where either is."""
        if NO_QUERY in (caption["query"], image["query"]):
            return self.absent(caption["domain"]), self.absent(image["domain"])
        return caption, image

    def _regions(self, rows: list[dict[str, Any]]) -> Batch:
        regions, present = region_batch([row["regions"] for row in rows], self._region_dim)
        return {"regions": regions, "has_regions": present}

    def _captions(self, rows: list[dict[str, Any]]) -> Batch:
        words, present = word_batch([row["words"] or [0] for row in rows])
        batch = {"words": words, "has_words": present & torch.tensor([bool(row["words"]) for row in rows])[:, None]}
        if self._concepts is not None:
            held = torch.zeros(len(rows), len(self._concepts), dtype=torch.bool)
            for place, row in enumerate(rows):
                held[place, row["concepts"]] = True
            batch["concepts"] = held
        return batch

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_tokenizer": None}
