"""Shards to batches: loader processes read, decode and augment; what comes out does not depend on how many they are.

for batch in training_batches(...): ...
for piece in evaluation_batches(...): ...
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from launch.own_error import own_error
from launch.seeds import generator
from launch.sizes import in_words
from pipeline.order import OWN_QUERY, Draw, Order
from pipeline.order.lookahead import looking_ahead
from pipeline.shards import Sample, ShardSet
from pipeline.system import Batch, Preparation

IN_SIGHT = 0.8
"""Share of the cache that shards which are in use or will soon be may fill."""


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


@dataclass(frozen=True)
class Unread:
    """An item that a batch lacks, and why it could not be read."""

    id: str
    domain: str
    shard: str
    shard_number: int
    """of all shards that are trained on; another corpus of a mixture may have the same ids and names"""
    reason: str


@dataclass(frozen=True)
class TrainingBatch:
    """A batch, in which the items of `unread` have rows that count for nothing."""

    batch: Batch
    unread: tuple[Unread, ...]

    def pin_memory(self) -> TrainingBatch:
        """The same with its tensors in pinned memory; the loader calls it where a GPU is fed."""
        return TrainingBatch({name: value.pin_memory() for name, value in self.batch.items()}, self.unread)


class TrainingSamples(Dataset):
    """A map from (epoch, draws) to a batch; every random choice depends on (seed, epoch, domain, item id, query) alone.

    An item whose own data are at fault (ValueError) is replaced by nothing: its row keeps its place, so that all ranks' batches have one length,
    and has no content (`Preparation.absent`). What is the matter with a shard's index or with the machine (OSError) leaves no batch at all.
    """

    def __init__(self, shards: ShardSet, preparation: Preparation, seed: int) -> None:
        self._shards, self._preparation, self._seed = shards, preparation, seed

    def __getitem__(self, index: tuple[int, list[Draw], tuple[int, ...]]) -> TrainingBatch | Unreadable:
        epoch, draws, soon = index
        unread: list[Unread] = []
        try:
            if soon:
                self._shards.ask(soon)
            rows = [self._row(epoch, draw, unread) for draw in draws]
            return TrainingBatch(self._preparation.collate(rows), tuple(unread))
        except (ValueError, OSError) as error:
            return Unreadable(str(error))

    def _row(self, epoch: int, draw: Draw, unread: list[Unread]) -> dict[str, Any]:
        sample = self._shards.shard(draw.shard).sample(draw.row)
        try:
            return self._read(epoch, draw, sample)
        except ValueError as error:
            row = self._preparation.absent(sample.domain)
            if row is None:
                raise
            unread.append(Unread(sample.id, sample.domain, sample.shard, draw.shard, str(error)))
            return row

    def _read(self, epoch: int, draw: Draw, sample: Sample) -> dict[str, Any]:
        rng = generator(self._seed, epoch, sample.domain, sample.id, draw.query)
        queries = [query for query in sample.queries() if draw.query in (OWN_QUERY, query.id)]
        query = queries[int(rng.integers(len(queries)))] if queries else None
        return self._preparation.sample(sample, rng, query)


class _Positions:
    """The batches still to come, as the loader's sampler, each with the shards that come into sight where these are elsewhere; iterated in the
    training process only."""

    def __init__(self, shards: ShardSet, order: Order, part: Slice, epochs: range, start: int) -> None:
        self._shards, self._order, self._part, self._epochs, self._start = shards, order, part, epochs, start

    def __iter__(self) -> Iterator[tuple[int, list[Draw], tuple[int, ...]]]:
        if self._shards.cache_bytes is None:
            return ((epoch, draws, ()) for epoch, draws in self._own())
        return looking_ahead(self._own(), [info.bytes for info in self._shards.shards], IN_SIGHT * self._shards.cache_bytes)

    def _own(self) -> Iterator[tuple[int, list[Draw]]]:
        start = self._start
        for epoch in self._epochs:
            for choices, draws in self._order.passes(epoch, start):
                yield choices, self._part.of(draws)
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
    unread: Callable[[Sequence[Unread]], None] | None = None,
) -> Iterator[Batch]:
    """Batches `start`, `start` + 1, ... of the first of `epochs`, then all of the others, this rank's slice of each.

    Nothing before `start` is read or decoded. Loader processes live as long as the iterator and do not wait between epochs. Shards from elsewhere
    are fetched before they are needed, as far as IN_SIGHT of their cache holds them.

    Args:
        unread: told of the items that a batch lacks, just before that batch comes. None: the first such item raises ValueError.

    Raises:
        ValueError: names shard, sample and cause, where a batch cannot be made; OSError, where only this rank, not the first, met it. The cache
            is too small for this order.
    """
    _require_room(shards, order)
    for loaded in _loader(TrainingSamples(shards, preparation, seed), _Positions(shards, order, part, epochs, start), workers, prefetch, pin):
        if isinstance(loaded, Unreadable):
            raise own_error(loaded.reason)
        if loaded.unread:
            if unread is None:
                raise own_error(loaded.unread[0].reason)
            unread(loaded.unread)
        yield loaded.batch


def _require_room(shards: ShardSet, order: Order) -> None:
    room = shards.cache_bytes
    if room is not None and (wanted := order.bytes_at_once(shards)) > room:
        raise ValueError(
            f"{shards.folder}: this order reads from {in_words(wanted)} of shards at a time, the cache holds {in_words(room)}, so that shards would "
            "be fetched again and again; give a larger --cache_size, or --stream.policy document, which keeps to --stream.window_shards of a domain"
        )


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
    """A map from (shard, first row, last row) to an EvaluationBatch; an item whose own data are at fault (ValueError) is listed and replaced by
    nothing, what is the machine's fault (OSError) leaves no piece."""

    def __init__(self, shards: ShardSet, preparation: Preparation) -> None:
        self._shards, self._preparation = shards, preparation

    def __getitem__(self, index: tuple[int, int, int, tuple[int, ...]]) -> EvaluationBatch | Unreadable:
        *rows, soon = index
        try:
            if soon:
                self._shards.ask(soon)
            return self._piece(*rows)
        except (ValueError, OSError) as error:
            return Unreadable(str(error))

    def _piece(self, number: int, first: int, last: int) -> EvaluationBatch:
        shard = self._shards.shard(number)
        rows, ids, labels, failures = [], [], [], []
        for row in range(first, last):
            try:
                sample = shard.sample(row)
                own = sample.record["labels"]
                rows.append(self._preparation.sample(sample, None, None))
                ids.append(sample.id)
                labels.append(own)
            except ValueError as error:
                failures.append((shard.ids[row], str(error)))
        batch = self._preparation.collate(rows) if rows else None
        return EvaluationBatch(number, first, last, tuple(ids), tuple(labels), batch, tuple(failures))


class _ShardRows:
    """(shard, first, last, soon) pieces of `batch_size` rows of the shards that `take` hands out; a piece never crosses a shard.

    Shards from elsewhere are taken one ahead: a shard's first piece has the next shard in `soon`.
    """

    def __init__(self, shards: ShardSet, take: Callable[[], int | None], batch_size: int) -> None:
        self._shards, self._take, self._batch_size = shards, take, batch_size

    def __iter__(self) -> Iterator[tuple[int, int, int, tuple[int, ...]]]:
        elsewhere = self._shards.cache_bytes is not None
        number = self._take()
        while number is not None:
            following = self._take() if elsewhere else None
            soon = () if following is None else (following,)
            samples = self._shards.shards[number].samples
            for first in range(0, samples, self._batch_size):
                yield number, first, min(first + self._batch_size, samples), soon if first == 0 else ()
            number = following if elsewhere else self._take()


def evaluation_batches(
    shards: ShardSet, take: Callable[[], int | None], preparation: Preparation, *, batch_size: int, workers: int, prefetch: int = 2, pin: bool = False
) -> Iterator[EvaluationBatch]:
    """The pieces of the shards that `take` hands out one by one (None: no more), in order.

    Raises:
        ValueError: a shard's index or the machine is at fault; OSError, where only this rank, not the first, met it.
    """
    for piece in _loader(EvaluationSamples(shards, preparation), _ShardRows(shards, take, batch_size), workers, prefetch, pin):
        if isinstance(piece, Unreadable):
            raise own_error(piece.reason)
        yield piece


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
        worker_init_fn=_left_alone,
        # Its own generator: the loader's seeds are not used, and drawing them from the global one would disturb dropout on resume.
        generator=torch.Generator().manual_seed(0),
    )


def _left_alone(worker: int) -> None:
    """Signals for a rank's group (torchrun's SIGTERM, Ctrl-C) and Slurm's SIGUSR1 are for the rank: it still needs batches to end in good order, and
    ends its loader processes itself. They also end, within seconds, when it is gone."""
    os.setpgrp()
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)


def _as_it_is(value: Any) -> Any:
    return value
