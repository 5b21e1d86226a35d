"""The pairs policy: an epoch is every clip once, each with a good that belongs to it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from launch.seeds import generator
from pipeline.item import CLIPS
from pipeline.order.order import Draw, SidedOrder
from pipeline.order.published import entries_by_query
from pipeline.recipe import Stream
from pipeline.shards import ShardSet


class PairOrder(SidedOrder):
    """Batches of G pairs as 2G draws: clip, its good, clip, its good, ... Both draws of a pair carry the query that they share.

    A clip belongs to the goods that it shares a query with. An epoch is every clip that has such a good, once, in random order; its query is
    drawn among those that it shares with a good, then the good among that query's. The last batch is filled up from the next shuffle.

    Holds one (query, shard, row) entry, 16 bytes, for each query of each document.

    Raises:
        ValueError: no clip shares a query with a good.
    """

    first_domains: tuple[str, ...] = CLIPS
    second_domain = "goods"
    without_pairs = (
        "no clip shares a query with a good, so there are no pairs to train on; --stream.policy pairs needs a corpus whose clips and goods have "
        "queries in common"
    )

    def __init__(self, shards: ShardSet, settings: Stream, seed: int) -> None:
        super().__init__(2 * settings.batch_size)
        self._seed = seed
        entries = entries_by_query(shards)
        self._goods = entries.get(self.second_domain, np.empty(0, dtype=next(iter(entries.values())).dtype))
        clips = np.concatenate([entries[domain] for domain in self.first_domains if domain in entries] or [self._goods[:0]])
        first, last = (np.searchsorted(self._goods["query"], clips["query"], side=side) for side in ("left", "right"))
        paired = last > first
        if not paired.any():
            raise ValueError(f"{shards.folder}: {self.without_pairs}")
        order = np.lexsort((clips["query"][paired], clips["row"][paired], clips["shard"][paired]))
        self._clips, self._first, self._last = clips[paired][order], first[paired][order], last[paired][order]
        places = np.stack([self._clips["shard"], self._clips["row"]])
        begins = np.flatnonzero(np.concatenate([[True], (places[:, 1:] != places[:, :-1]).any(axis=0)]))
        self._begins, self._ends = begins, np.concatenate([begins[1:], [len(self._clips)]])

    def batches_in(self, epoch: int) -> int:
        """Enough batches to hold every paired clip; the same for every epoch."""
        return -(-2 * len(self._begins) // self._size)

    def _sides(self, epoch: int) -> list[str]:
        return ["pairs"] * self.batches_in(epoch)

    def _documents(self, epoch: int, side: str, skip: int) -> Iterator[Draw]:
        first, skip = divmod(skip // 2, len(self._begins))
        for shuffle in itertools.count(first):
            rng = generator(self._seed, "pairs", epoch, shuffle)
            order = rng.permutation(len(self._begins))
            begins, ends = self._begins[order], self._ends[order]
            uniform = rng.random((2, len(order)))
            clips = begins + (uniform[0] * (ends - begins)).astype(int)
            goods = self._first[clips] + (uniform[1] * (self._last[clips] - self._first[clips])).astype(int)
            for clip, good in zip(self._clips[clips[skip:]], self._goods[goods[skip:]]):
                yield Draw(int(clip["shard"]), int(clip["row"]), int(clip["query"]))
                yield Draw(int(good["shard"]), int(good["row"]), int(good["query"]))
            skip = 0
