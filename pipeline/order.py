"""The sampler: which documents, in which order, make up the batches of an epoch.

An order is a function of (shard set, settings, seed, epoch) alone. It knows no ranks and no workers: rank r of R takes its slice of
every batch, so a run that stops goes on from two numbers (epoch, batch), with any ranks x workers, without loss or repetition.

Legend: G documents in a global batch.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from launch.seeds import generator
from pipeline.recipe import Stream
from pipeline.shards import ShardSet

OWN_QUERY = -1


class Draw(NamedTuple):
    """One document of a batch: its place in the shard set and the number of the query drawn for it (OWN_QUERY: any of its own)."""

    shard: int
    row: int
    query: int


class Order(ABC):
    """The batches of every epoch; each batch has exactly G draws, so that all ranks take the same number of steps."""

    @abstractmethod
    def batches_in(self, epoch: int) -> int:
        """Number of batches of `epoch`."""

    def batches(self, epoch: int, start: int = 0) -> Iterator[list[Draw]]:
        """Batches `start`, `start` + 1, ... of `epoch`."""
        sides = self._sides(epoch)
        streams = {side: self._documents(epoch, side, skip=sides[:start].count(side) * self._size) for side in sorted(set(sides))}
        for side in sides[start:]:
            yield list(itertools.islice(streams[side], self._size))

    def __init__(self, size: int) -> None:
        self._size = size

    @abstractmethod
    def _sides(self, epoch: int) -> list[str]:
        """The side (domain, or "all") of each batch of `epoch`."""

    @abstractmethod
    def _documents(self, epoch: int, side: str, skip: int) -> Iterator[Draw]:
        """An endless sequence of one side's documents from number `skip` on: when all were drawn, the next shuffle begins."""


class DocumentOrder(Order):
    """One epoch is every document that has a query, once; the tail of each side is filled up from the side's next shuffle.

    Shards are shuffled, then documents within a window of `window_shards` shards: only the indexes of one window are in memory, and
    reading stays within a few shards at a time.
    """

    def __init__(self, shards: ShardSet, settings: Stream, seed: int) -> None:
        super().__init__(settings.batch_size)
        self._shards, self._window, self._seed = shards, settings.window_shards, seed
        used = [number for number, shard in enumerate(shards.shards) if shard.with_queries]
        if settings.domains == "mixed":
            self._members = {"all": used}
        else:
            self._members = {
                domain: [n for n in used if shards.shards[n].domain == domain] for domain in sorted({shards.shards[n].domain for n in used})
            }
        if not used:
            raise ValueError(f"{shards.folder}: no document has a query; training needs queries (train.txt, or `queries` in a catalogue)")
        self._counts = {side: sum(shards.shards[n].with_queries for n in numbers) for side, numbers in self._members.items()}

    def batches_in(self, epoch: int) -> int:
        """Enough batches of each side to hold all of its documents; the same for every epoch."""
        return sum(-(-count // self._size) for count in self._counts.values())

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
                size = sum(self._shards.shards[number].with_queries for number in numbers)
                if skip >= size:
                    skip -= size
                    continue
                window = np.concatenate([self._rows(number) for number in numbers])
                for place in generator(self._seed, "rows", epoch, side, shuffle, first).permutation(size)[skip:]:
                    yield Draw(int(window[place, 0]), int(window[place, 1]), OWN_QUERY)
                skip = 0
            shuffle += 1

    def _rows(self, number: int) -> np.ndarray:
        """(shard, row) [n, 2] of the shard's documents that have a query."""
        info = self._shards.shards[number]
        whole = info.with_queries == info.samples
        rows = np.arange(info.samples) if whole else np.flatnonzero(np.diff(self._shards.shard(number).query_offsets))
        return np.stack([np.full(len(rows), number), rows], axis=1)


class PublishedOrder(Order):
    """QCD as released: one epoch is every query once; a side is drawn at even chance where the query has both, then one document of it.

    Holds one (query, shard, row) entry, 16 bytes, for each query of each document. The tail of a side is filled up from the next shuffle.
    """

    def __init__(self, shards: ShardSet, settings: Stream, seed: int) -> None:
        super().__init__(settings.batch_size)
        self._seed, self._mixed = seed, settings.domains == "mixed"
        entries: dict[str, list[np.ndarray]] = {}
        for number, info in enumerate(shards.shards):
            if info.with_queries:
                shard = shards.shard(number)
                counts = np.diff(shard.query_offsets)
                entry = np.empty(len(shard.query_ids_flat), dtype=[("query", "i4"), ("shard", "i4"), ("row", "i8")])
                entry["query"], entry["shard"], entry["row"] = shard.query_ids_flat, number, np.repeat(np.arange(len(counts)), counts)
                entries.setdefault(info.domain, []).append(entry)
        if not entries:
            raise ValueError(f"{shards.folder}: no document has a query; training needs queries (train.txt, or `queries` in a catalogue)")
        self._entries = {domain: np.sort(np.concatenate(found), order=["query", "shard", "row"]) for domain, found in sorted(entries.items())}
        number_of_queries = 1 + max(int(found["query"][-1]) for found in self._entries.values())
        places = np.arange(number_of_queries + 1)
        self._offsets = {domain: np.searchsorted(found["query"], places) for domain, found in self._entries.items()}
        self._has = np.stack([np.diff(offsets) > 0 for offsets in self._offsets.values()], axis=1)
        self._queries = np.flatnonzero(self._has.any(axis=1))

    def batches_in(self, epoch: int) -> int:
        """Enough batches to hold every query on the side drawn for it; it differs a little between epochs."""
        return sum(self._batches(epoch).values())

    def _batches(self, epoch: int) -> dict[str, int]:
        _, chosen, _ = self._shuffle(epoch, 0)
        counts = {"all": len(chosen)} if self._mixed else {domain: int((chosen == n).sum()) for n, domain in enumerate(self._entries)}
        return {side: -(-count // self._size) for side, count in counts.items()}

    def _sides(self, epoch: int) -> list[str]:
        sides = [side for side, batches in sorted(self._batches(epoch).items()) for _ in range(batches)]
        order = generator(self._seed, "sides", epoch).permutation(len(sides))
        return [sides[i] for i in order]

    def _shuffle(self, epoch: int, shuffle: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All queries in a random order, the side drawn for each (a number in `_entries`), and a uniform number that picks its document."""
        rng = generator(self._seed, "queries", epoch, shuffle)
        order = rng.permutation(self._queries)
        uniform = rng.random((len(order), 2))
        has = self._has[order]
        # floor(uniform * number of sides the query has) counts along those sides: each is drawn at even chance.
        pick = np.floor(uniform[:, 0] * has.sum(axis=1)).astype(int)
        chosen = (np.cumsum(has, axis=1) == (pick + 1)[:, None]).argmax(axis=1)
        return order, chosen, uniform[:, 1]

    def _documents(self, epoch: int, side: str, skip: int) -> Iterator[Draw]:
        domains = list(self._entries)
        for shuffle in itertools.count():
            order, chosen, uniform = self._shuffle(epoch, shuffle)
            wanted = np.arange(len(order)) if self._mixed else np.flatnonzero(chosen == domains.index(side))
            for place in wanted[skip:]:
                query, domain = int(order[place]), domains[chosen[place]]
                first, last = self._offsets[domain][query], self._offsets[domain][query + 1]
                entry = self._entries[domain][first + int(uniform[place] * (last - first))]
                yield Draw(int(entry["shard"]), int(entry["row"]), query)
            skip = max(0, skip - len(wanted))


def order_of(shards: ShardSet, settings: Stream, seed: int) -> Order:
    """The order that `settings.policy` names."""
    return {"document": DocumentOrder, "published": PublishedOrder}[settings.policy](shards, settings, seed)
