"""The published policy: an epoch is every query once, with one document of it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from launch.seeds import generator
from pipeline.order.order import Draw, SidedOrder, shards_to_train_on
from pipeline.recipe import Stream
from pipeline.shards import ShardSet

ENTRY = np.dtype([("query", "i4"), ("shard", "i4"), ("row", "i8")])
"""A query and a document that it found."""


def entries_by_query(shards: ShardSet) -> dict[str, np.ndarray]:
    """Domain -> an ENTRY for each query of each of its documents, in the order of the queries.

    Raises ValueError naming the folder where no document has a query.
    """
    entries: dict[str, list[np.ndarray]] = {}
    for number in shards_to_train_on(shards):
        shard = shards.shard(number)
        counts = np.diff(shard.query_offsets)
        entry = np.empty(len(shard.query_ids_flat), dtype=ENTRY)
        entry["query"], entry["shard"], entry["row"] = shard.query_ids_flat, number, np.repeat(np.arange(len(counts)), counts)
        entries.setdefault(shards.shards[number].domain, []).append(entry)
    return {domain: np.sort(np.concatenate(found), order=["query", "shard", "row"]) for domain, found in sorted(entries.items())}


class PublishedOrder(SidedOrder):
    """QCD as released: one epoch is every query once; a side is drawn at even chance where the query has both, then one document of it.

    Holds one (query, shard, row) entry, 16 bytes, for each query of each document. The tail of a side is filled up from the next shuffle.
    """

    def __init__(self, shards: ShardSet, settings: Stream, seed: int) -> None:
        super().__init__(settings.batch_size)
        self._seed, self._mixed = seed, settings.domains == "mixed"
        self._entries = entries_by_query(shards)
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

    def _drawn(self, epoch: int, side: str, shuffle: int) -> np.ndarray:
        """The entries [n] that one shuffle draws for one side, in its order: one of each query."""
        order, chosen, uniform = self._shuffle(epoch, shuffle)
        drawn = np.empty(len(order), dtype=ENTRY)
        for number, (domain, entries) in enumerate(self._entries.items()):
            here = chosen == number
            first, last = self._offsets[domain][order[here]], self._offsets[domain][order[here] + 1]
            drawn[here] = entries[first + (uniform[here] * (last - first)).astype(int)]
        return drawn if self._mixed else drawn[chosen == list(self._entries).index(side)]

    def _documents(self, epoch: int, side: str, skip: int) -> Iterator[Draw]:
        for shuffle in itertools.count():
            drawn = self._drawn(epoch, side, shuffle)
            yield from draws(drawn[skip:])
            skip = max(0, skip - len(drawn))


def draws(entries: np.ndarray) -> Iterator[Draw]:
    """The draw of each entry, made when it is asked for."""
    return (Draw(int(entry["shard"]), int(entry["row"]), int(entry["query"])) for entry in entries)
