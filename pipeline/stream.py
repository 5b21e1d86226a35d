"""Shards to batches: loader processes read, decode and augment; what comes out does not depend on how many they are.

for batch in training_batches(...): ...
for piece in evaluation_batches(...): ...
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from launch.seeds import generator
from pipeline.order import OWN_QUERY, Draw, Order
from pipeline.shards import ShardSet
from pipeline.system import Batch, Preparation


@dataclass(frozen=True)
class Slice:
    """Which part of every global batch this process takes: piece `rank` of `world_size`."""

    rank: int
    world_size: int

    def of(self, draws: list[Draw]) -> list[Draw]:
        size = len(draws) // self.world_size
        return draws[self.rank * size : (self.rank + 1) * size]


@dataclass(frozen=True)
class Unreadable:
    """Why a batch could not be made; carried out of a loader process, where an exception would arrive as a page of traceback."""

    reason: str


class TrainingSamples(Dataset):
    """A map from (epoch, draws) to a batch; every random choice depends on (seed, epoch, domain, item id, query) alone."""

    def __init__(self, shards: ShardSet, preparation: Preparation, seed: int) -> None:
        self._shards, self._preparation, self._seed = shards, preparation, seed

    def __getitem__(self, index: tuple[int, list[Draw]]) -> Batch | Unreadable:
        epoch, draws = index
        try:
            return self._preparation.collate([self._row(epoch, draw) for draw in draws])
        except (ValueError, OSError) as error:
            return Unreadable(str(error))

    def _row(self, epoch: int, draw: Draw) -> dict[str, Any]:
        sample = self._shards.shard(draw.shard).sample(draw.row)
        rng = generator(self._seed, epoch, sample.domain, sample.id, draw.query)
        queries = [query for query in sample.queries() if draw.query in (OWN_QUERY, query.id)]
        query = queries[int(rng.integers(len(queries)))] if queries else None
        return self._preparation.sample(sample, rng, query)


class _Positions:
    """The batches still to come, as the loader's sampler; iterated in the training process only."""

    def __init__(self, order: Order, part: Slice, epochs: range, start: int) -> None:
        self._order, self._part, self._epochs, self._start = order, part, epochs, start

    def __iter__(self) -> Iterator[tuple[int, list[Draw]]]:
        start = self._start
        for epoch in self._epochs:
            for draws in self._order.batches(epoch, start):
                yield epoch, self._part.of(draws)
            start = 0


def training_batches(
    shards: ShardSet,
    order: Order,
    preparation: Preparation,
    *,
    seed: int,
    part: Slice,
    epochs: range,
    start: int = 0,
    workers: int,
    prefetch: int,
    pin: bool = False,
) -> Iterator[Batch]:
    """Batches `start`, `start` + 1, ... of the first of `epochs`, then all of the others, this rank's slice of each.

    Nothing before `start` is read or decoded. Loader processes live as long as the iterator and do not wait between epochs.

    Raises:
        ValueError: names shard, sample and cause, where a sample cannot be read.
    """
    for batch in _loader(TrainingSamples(shards, preparation, seed), _Positions(order, part, epochs, start), workers, prefetch, pin):
        if isinstance(batch, Unreadable):
            raise ValueError(batch.reason)
        yield batch


@dataclass(frozen=True)
class EvaluationBatch:
    """Some rows of one shard: `ids` and `labels` of those that could be read, in order, their `batch` (None if none), and who failed and why."""

    shard: int
    first: int
    last: int
    ids: tuple[str, ...]
    labels: tuple[dict[str, Any], ...]
    batch: Batch | None
    failures: tuple[tuple[str, str], ...]

    def pin_memory(self) -> EvaluationBatch:
        """The same with its tensors in pinned memory; the loader calls it where a GPU is fed."""
        batch = None if self.batch is None else {name: value.pin_memory() for name, value in self.batch.items()}
        return EvaluationBatch(self.shard, self.first, self.last, self.ids, self.labels, batch, self.failures)


class EvaluationSamples(Dataset):
    """A map from (shard, first row, last row) to an EvaluationBatch; an unreadable sample is listed and replaced by nothing."""

    def __init__(self, shards: ShardSet, preparation: Preparation) -> None:
        self._shards, self._preparation = shards, preparation

    def __getitem__(self, index: tuple[int, int, int]) -> EvaluationBatch:
        number, first, last = index
        shard = self._shards.shard(number)
        rows, ids, labels, failures = [], [], [], []
        for row in range(first, last):
            try:
                sample = shard.sample(row)
                own = sample.record["labels"]
                rows.append(self._preparation.sample(sample, None, None))
                ids.append(sample.id)
                labels.append(own)
            except (ValueError, OSError) as error:
                failures.append((shard.ids[row], str(error)))
        batch = self._preparation.collate(rows) if rows else None
        return EvaluationBatch(number, first, last, tuple(ids), tuple(labels), batch, tuple(failures))


class _ShardRows:
    """(shard, first, last) pieces of `batch_size` rows of the shards that `take` hands out; a piece never crosses a shard."""

    def __init__(self, shards: ShardSet, take: Callable[[], int | None], batch_size: int) -> None:
        self._shards, self._take, self._batch_size = shards, take, batch_size

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        while (number := self._take()) is not None:
            samples = self._shards.shards[number].samples
            for first in range(0, samples, self._batch_size):
                yield number, first, min(first + self._batch_size, samples)


def evaluation_batches(
    shards: ShardSet, take: Callable[[], int | None], preparation: Preparation, *, batch_size: int, workers: int, prefetch: int = 2, pin: bool = False
) -> Iterator[EvaluationBatch]:
    """The pieces of the shards that `take` hands out one by one (None: no more), in order."""
    yield from _loader(EvaluationSamples(shards, preparation), _ShardRows(shards, take, batch_size), workers, prefetch, pin)


def _loader(samples: Dataset, positions: Any, workers: int, prefetch: int, pin: bool) -> DataLoader:
    return DataLoader(
        samples,
        sampler=positions,
        batch_size=None,
        collate_fn=_as_it_is,
        num_workers=workers,
        prefetch_factor=prefetch if workers else None,
        pin_memory=pin,
        in_order=True,
        # Its own generator: the loader's seeds are not used, and drawing them from the global one would disturb dropout on resume.
        generator=torch.Generator().manual_seed(0),
    )


def _as_it_is(value: Any) -> Any:
    return value
