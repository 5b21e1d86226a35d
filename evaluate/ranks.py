"""One search by several processes: each looks at its slice of the documents, the first one gets the lists.

Without a job (`Ranks()`) everything here works for one process and loads nothing. Legend: R ranks, Q queries, k results a query.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import numpy as np

T = TypeVar("T")
MERGED_AT_ONCE_BYTES = 1 << 26
"""Of all ranks' lists that the first rank holds beside its own while it merges."""


class Ranks:
    """One process."""

    rank, size = 0, 1

    def slice(self, number: int) -> tuple[int, int]:
        """(first, end) of this rank's part of `number` documents."""
        return number * self.rank // self.size, number * (self.rank + 1) // self.size

    def of_first(self, value: T) -> T:
        """The first rank's `value`, on every rank."""
        return value

    def merged(self, keys: np.ndarray) -> np.ndarray:
        """int64 [Q, k]: the best of all ranks' lists (`evaluate/engines/keys.py`) on the first rank, which may be `keys` itself; elsewhere `keys`."""
        return keys

    @contextmanager
    def one_outcome(self) -> Iterator[None]:
        """A piece of work that succeeds on all ranks or raises on all: where one has an error of input, all have that error."""
        yield

    @contextmanager
    def first_alone(self) -> Iterator[None]:
        """A piece of work that the first rank has done before the others begin, with one outcome. It may take longer than ranks wait in exchanges."""
        yield

    def led(self, find: Callable[[np.ndarray, int], T], lead: Callable[[Callable[[np.ndarray, int], T]], None], vectors: np.ndarray) -> None:
        """Run `lead(best)` on the first rank; whenever it calls best(rows of `vectors`, k), every rank calls find(those vectors, k)."""
        lead(lambda rows, k: find(_chosen(vectors, rows), k))


def _chosen(vectors: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return vectors if len(rows) == len(vectors) else vectors[rows]


class JobRanks(Ranks):
    """The processes of a torch.distributed job that has been joined; they exchange arrays and short messages over gloo."""

    _works = itertools.count()
    """Numbers the works that the first has done alone, alike on all ranks."""

    def __init__(self) -> None:
        import torch.distributed as dist  # here: one process needs no torch

        self._dist = dist
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        # None is the job's own group. It is not held here: a group that outlives the job by some reference may abort the process at its end.
        self._group = None if dist.get_backend() == "gloo" else dist.new_group(backend="gloo")

    def of_first(self, value: T) -> T:
        holder = [value]
        self._dist.broadcast_object_list(holder, src=0, group=self._group)
        return holder[0]

    def merged(self, keys: np.ndarray) -> np.ndarray:
        import torch

        at_once = max(1, MERGED_AT_ONCE_BYTES // max(1, self.size * keys.shape[1] * keys.itemsize))
        for first in range(0, len(keys), at_once):
            own = torch.from_numpy(np.ascontiguousarray(keys[first : first + at_once]))
            parts = [torch.empty_like(own) for _ in range(self.size)] if self.rank == 0 else None
            self._dist.gather(own, parts, dst=0, group=self._group)
            if parts is not None:
                together = np.concatenate([part.numpy() for part in parts], axis=1)
                together.sort(axis=1)
                keys[first : first + at_once] = together[:, : keys.shape[1]]
        return keys

    @contextmanager
    def one_outcome(self) -> Iterator[None]:
        error: Exception | None = None
        try:
            yield
        except (ValueError, OSError) as raised:
            error = raised
        outcomes: list[str | None] = [None] * self.size
        self._dist.all_gather_object(outcomes, None if error is None else str(error), group=self._group)
        if said := [outcome for outcome in outcomes if outcome is not None]:
            raise ValueError(said[0]) from error

    @contextmanager
    def first_alone(self) -> Iterator[None]:
        from launch.distributed import job_store  # here: it loads torch

        # The others ask the job's store; an exchange would give the first up after minutes.
        store, done = job_store(), f"first alone/{next(JobRanks._works)}"
        assert store is not None
        if self.rank:
            wait_s = 0.01
            while not store.check([done]):
                time.sleep(wait_s)
                wait_s = min(1.0, 1.5 * wait_s)
            with self.one_outcome():
                pass
        with self.one_outcome():
            try:
                yield
            finally:
                if not self.rank:
                    store.set(done, "")
        if not self.rank:
            with self.one_outcome():
                pass

    def led(self, find: Callable[[np.ndarray, int], T], lead: Callable[[Callable[[np.ndarray, int], T]], None], vectors: np.ndarray) -> None:
        if self.rank == 0:
            waiting = True

            def best(rows: np.ndarray, k: int) -> T:
                nonlocal waiting
                self.of_first((rows, k))
                waiting = False  # if this fails, it fails everywhere
                found = find(_chosen(vectors, rows), k)
                waiting = True
                return found

            try:
                lead(best)
            finally:
                if waiting:
                    self.of_first(None)
            return
        while (asked := self.of_first(None)) is not None:
            find(_chosen(vectors, asked[0]), asked[1])


def in_a_job() -> bool:
    """True where torchrun started this process beside others."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


@contextmanager
def joined() -> Iterator[Ranks]:
    """The ranks of torchrun's job, joined and left again; this process alone where there is none. Ends the process where another rank is lost."""
    if not in_a_job():
        yield Ranks()
        return
    from launch import distributed  # here: it loads torch
    from launch.lost_rank import ending_when_lost

    distributed.start("cpu")
    try:
        with ending_when_lost("during the search", "it begins anew, since a search keeps nothing"):
            yield JobRanks()
    finally:
        distributed.stop()
