"""The clips policy: an epoch is every micro-video once, by itself, whether or not it has a query."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from launch.seeds import generator
from pipeline.order.order import OWN_QUERY, Draw, SidedOrder
from pipeline.recipe import Stream
from pipeline.shards import ShardSet

DOMAIN = "video"


class ClipOrder(SidedOrder):
    """Batches of G items of domain video in random order; the last batch of an epoch is filled up from the next shuffle.

    Holds (shard, row), 16 bytes, for each clip.

    Raises:
        ValueError: the split has no clip.
    """

    def __init__(self, shards: ShardSet, settings: Stream, seed: int) -> None:
        super().__init__(settings.batch_size)
        self._seed = seed
        clips = [(number, info.samples) for number, info in enumerate(shards.shards) if info.domain == DOMAIN]
        if not clips:
            raise ValueError(f"{shards.folder}: no clip to train on; --stream.policy clips needs items of domain {DOMAIN}")
        self._places = np.concatenate([np.stack([np.full(count, number), np.arange(count)], axis=1) for number, count in clips])

    def batches_in(self, epoch: int) -> int:
        """Enough batches to hold every clip; the same for every epoch."""
        return -(-len(self._places) // self._size)

    def _sides(self, epoch: int) -> list[str]:
        return ["clips"] * self.batches_in(epoch)

    def _documents(self, epoch: int, side: str, skip: int) -> Iterator[Draw]:
        first, skip = divmod(skip, len(self._places))
        for shuffle in itertools.count(first):
            order = generator(self._seed, "clips", epoch, shuffle).permutation(len(self._places))
            for shard, row in self._places[order[skip:]].tolist():
                yield Draw(shard, row, OWN_QUERY)
            skip = 0
