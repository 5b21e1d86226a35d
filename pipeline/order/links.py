"""The links policy: an epoch is every document once with each query that it was found by."""

from __future__ import annotations

import numpy as np

from pipeline.order.document import DocumentOrder


class LinkOrder(DocumentOrder):
    """Pairs of a query and a document, each once an epoch, shuffled within a window of shards as `DocumentOrder` shuffles documents: queries that
    found many documents come as often as they found one (HSL's "duplicated" training queries).

    Looks into the index of every shard once, to count.
    """

    def _size_of(self, number: int) -> int:
        return len(self._shards.shard(number).query_ids_flat)

    def _rows(self, number: int) -> np.ndarray:
        """(shard, row, query) [n, 3] of each query of the shard's documents."""
        shard = self._shards.shard(number)
        counts = np.diff(shard.query_offsets)
        queries = shard.query_ids_flat.astype(np.int64)
        return np.stack([np.full(len(queries), number), np.repeat(np.arange(len(counts)), counts), queries], axis=1)
