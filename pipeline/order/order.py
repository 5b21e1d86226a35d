"""What every order of batches is: exactly G draws a batch, and a tail of an epoch that can be had without its beginning.

Legend: G documents in a global batch.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import NamedTuple

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

    @abstractmethod
    def batches(self, epoch: int, start: int = 0) -> Iterator[list[Draw]]:
        """Batches `start`, `start` + 1, ... of `epoch`."""

    def passes(self, epoch: int, start: int = 0) -> Iterator[tuple[int, list[Draw]]]:
        """The same batches, each with what stands for the epoch where random choices are drawn for its documents."""
        return ((epoch, draws) for draws in self.batches(epoch, start))

    def bytes_at_once(self, shards: ShardSet) -> int:
        """Bytes of the shards that batches near each other may read from: all of them, unless an order keeps to a few at a time."""
        return sum(info.bytes for info in shards.shards if info.domain != "query")


class SidedOrder(Order):
    """An order whose batches each come from one of several sides, of `size` draws each."""

    def __init__(self, size: int) -> None:
        self._size = size

    def batches(self, epoch: int, start: int = 0) -> Iterator[list[Draw]]:
        """Batches `start`, `start` + 1, ... of `epoch`."""
        sides = self._sides(epoch)
        streams = {side: self._documents(epoch, side, skip=sides[:start].count(side) * self._size) for side in sorted(set(sides))}
        for side in sides[start:]:
            yield list(itertools.islice(streams[side], self._size))

    @abstractmethod
    def _sides(self, epoch: int) -> list[str]:
        """The side (domain, or "all") of each batch of `epoch`."""

    @abstractmethod
    def _documents(self, epoch: int, side: str, skip: int) -> Iterator[Draw]:
        """One side's documents from number `skip` on, batch after batch, at least as many as its batches hold."""


def shards_to_train_on(shards: ShardSet) -> list[int]:
    """The numbers of the shards with documents that have a query. Search queries that are items of their own are no documents.

    Raises ValueError naming the folder where there is none.
    """
    found = [number for number, info in enumerate(shards.shards) if info.with_queries and info.domain != "query"]
    if not found:
        raise ValueError(f"{shards.folder}: no document has a query; training needs queries (train.txt, or `queries` in a catalogue)")
    return found
