"""Products' regions and queries' words as batches.

Legend: B items, K regions (as many in every batch), D features of a region, L words of the longest query.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from pipeline.documents import MOST_QUERIES
from pipeline.item import NO_QUERY, Query
from pipeline.regions import read_regions, region_batch
from pipeline.shards import Sample
from pipeline.system import Batch, Preparation
from pipeline.words import Vocabulary, word_batch


class RegionPreparation(Preparation):
    """A batch of goods holds `regions` float32 [B, K, D] and `region_mask` bool [B, K]; of queries `words` int64 [B, L] and `word_mask` bool [B, L].

    A training batch holds both, a product's words being those of the query drawn for it, and `query` [B] (that query's number), `document_queries`
    [B, MOST_QUERIES] (the numbers of all of its product's queries, the drawn one first, padded with -1), and `read` bool [B]: a product that could
    not be read has one region of zeros, and counts for nothing.

    Args:
        width: D.
        most: K; of more regions the largest.
        longest: most words of a query.
    """

    def __init__(self, vocabulary: Vocabulary, width: int, most: int, longest: int) -> None:
        self._vocabulary, self._width, self._most, self._longest = vocabulary, width, most, longest

    def sample(self, sample: Sample, rng: np.random.Generator | None, query: Query | None) -> dict[str, Any]:
        if sample.domain == "query":
            return {"regions": None, "words": self._ids(sample.words().get("title", "")), "query": None, "queries": []}
        regions = read_regions(sample, self._width, self._most)
        if regions is None:
            raise ValueError(f"{sample.name} has no regions.npy; hsl looks at regions of images, which a corpus brings (kddcup)")
        if query is None:
            return {"regions": regions, "words": None, "query": None, "queries": []}
        return {"regions": regions, "words": self._ids(query.words), "query": query, "queries": [own.id for own in sample.queries()]}

    def _ids(self, words: str) -> list[int]:
        return self._vocabulary.ids(words, self._longest)

    def absent(self, domain: str) -> dict[str, Any]:
        return {"regions": np.zeros((1, self._width), np.float32), "words": self._ids(""), "query": NO_QUERY, "queries": []}

    def collate(self, rows: list[dict[str, Any]]) -> Batch:
        batch: Batch = {}
        if rows[0]["regions"] is not None:
            batch["regions"], batch["region_mask"] = region_batch([row["regions"] for row in rows], self._width, self._most)
        if rows[0]["words"] is not None:
            batch["words"], batch["word_mask"] = word_batch([row["words"] for row in rows])
        if rows[0]["query"] is not None:
            batch["query"] = torch.tensor([row["query"].id for row in rows])
            batch["read"] = torch.tensor([row["query"] is not NO_QUERY for row in rows])
            batch["document_queries"] = torch.full((len(rows), MOST_QUERIES), -1)
            for place, row in enumerate(rows):
                own = [row["query"].id, *(number for number in row["queries"] if number != row["query"].id)][:MOST_QUERIES]
                batch["document_queries"][place, : len(own)] = torch.tensor(own)
        return batch
