"""The document policy: an epoch is every document once, with few shards open at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from launch.seeds import generator
from pipeline.order.order import OWN_QUERY, Draw, SidedOrder, shards_to_train_on
from pipeline.recipe import Stream
from pipeline.shards import ShardSet


class DocumentOrder(SidedOrder):
    """One epoch is every document that has a query, once; the tail of each side is filled up from the side's next shuffle.

    Shards are shuffled, then documents within a window of `window_shards` shards: only the indexes of one window are in memory, and
    reading stays within a few shards at a time.
    """

    def __init__(self, shards: ShardSet, settings: Stream, seed: int) -> None:
        super().__init__(settings.batch_size)
        self._shards, self._window, self._seed = shards, settings.window_shards, seed
        used = shards_to_train_on(shards)
        if settings.domains == "mixed":
            self._members = {"all": used}
        else:
            self._members = {
                domain: [n for n in used if shards.shards[n].domain == domain] for domain in sorted({shards.shards[n].domain for n in used})
            }
        self._sizes = {number: self._size_of(number) for number in used}
        self._counts = {side: sum(self._sizes[n] for n in numbers) for side, numbers in self._members.items()}

    def batches_in(self, epoch: int) -> int:
        """Enough batches of each side to hold all of its documents; the same for every epoch."""
        return sum(-(-count // self._size) for count in self._counts.values())

    def bytes_at_once(self, shards: ShardSet) -> int:
        """Of one window of each side, at its largest."""
        largest = (sorted((shards.shards[number].bytes for number in numbers), reverse=True)[: self._window] for numbers in self._members.values())
        return sum(map(sum, largest))

    def _sides(self, epoch: int) -> list[str]:
        sides = [side for side, count in sorted(self._counts.items()) for _ in range(-(-count // self._size))]
        order = generator(self._seed, "sides", epoch).permutation(len(sides))
        return [sides[i] for i in order]

    def _documents(self, epoch: int, side: str, skip: int) -> Iterator[Draw]:
        shuffle, skip = divmod(skip, self._counts[side])
        while True:
            order = generator(self._seed, "shards", epoch, side, shuffle).permutation(self._members[side])
            for first in range(0, len(order), self._window):
                numbers = [int(number) for number in order[first : first + self._window]]
                size = sum(self._sizes[number] for number in numbers)
                if skip >= size:
                    skip -= size
                    continue
                window = np.concatenate([self._rows(number) for number in numbers])
                for place in generator(self._seed, "rows", epoch, side, shuffle, first).permutation(size)[skip:]:
                    yield Draw(*window[place].tolist())
                skip = 0
            shuffle += 1

    def _size_of(self, number: int) -> int:
        """How many rows `_rows` gives."""
        return self._shards.shards[number].with_queries

    def _rows(self, number: int) -> np.ndarray:
        """(shard, row, query) [n, 3] of the shard's documents that have a query."""
        info = self._shards.shards[number]
        whole = info.with_queries == info.samples
        rows = np.arange(info.samples) if whole else np.flatnonzero(np.diff(self._shards.shard(number).query_offsets))
        return np.stack([np.full(len(rows), number), rows, np.full(len(rows), OWN_QUERY)], axis=1)
