"""A shard set in memory, with what orders read of one: rows of query ids, and the queries' clusters."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from pipeline.item import Query
from pipeline.shards import ShardInfo


@dataclass
class FakeShard:
    """An index without a tar: rows with the given query ids."""

    rows: list[list[int]]

    @property
    def query_offsets(self) -> np.ndarray:
        return np.cumsum([0] + [len(row) for row in self.rows])

    @property
    def query_ids_flat(self) -> np.ndarray:
        return np.array([query for row in self.rows for query in row], dtype=np.int32)


@dataclass
class FakeShards:
    """Shards of (domain, rows); query number n has the cluster `clusters[n]`."""

    contents: list[tuple[str, list[list[int]]]]
    clusters: list[tuple[int, ...]] = field(default_factory=list)
    folder: Path = Path("shards/train")
    opened: Counter = field(default_factory=Counter)

    @cached_property
    def shards(self) -> tuple[ShardInfo, ...]:
        return tuple(
            ShardInfo(f"{domain}-{n:06d}", domain, "both", len(rows), sum(bool(row) for row in rows), 0, "")
            for n, (domain, rows) in enumerate(self.contents)
        )

    def shard(self, number: int) -> FakeShard:
        self.opened[number] += 1
        return FakeShard(self.contents[number][1])

    def queries(self) -> list[Query]:
        return [Query(number, f"query {number}", cluster) for number, cluster in enumerate(self.clusters)]
