"""Shards written by several processes: shard numbers come from a counter that all ranks of a job share, so that a slow node does not
hold up the rest; within a rank a pool of processes works on as many shards as it has members."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from multiprocessing.connection import wait as wait_for

from launch.logs import progress
from pipeline.packing.listing import Listing
from pipeline.packing.writer import Job, Written, write_shard

ITEMS_WORTH_A_PROCESS = 200
"""A process takes a few seconds to start; with fewer items than this for it, that time is not won back."""


def default_workers() -> int:
    """The cores that this process may use, shared with the other ranks on this machine."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def write_shards(job: Job, take: Callable[[], int], *, shards: int, items: int, workers: int) -> Generator[Written]:
    """Write shards until `take` has given out all numbers below `shards`, and give what each came to.

    Args:
        take: gives the next number that nobody has had, here or on another rank.
        items: how many items this rank will come by, for the progress bar.
        workers: packing processes, fewer where there is little to do; 1 works in this one.

    Raises:
        ValueError: an item cannot be packed and the job says to stop there.
        OSError: a packing process died, or the disk is at fault.
    """
    workers = min(workers, shards, items // ITEMS_WORTH_A_PROCESS)
    with progress(total=items, what=f"pack {job.split}", unit="item") as bar:
        if workers <= 1:
            with closing(Listing(job.listing)) as listing:
                while (number := take()) < shards:
                    written = write_shard(job, listing, number)
                    bar.update(written.items)
                    yield written
            return
        with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_begin, initargs=(job,)) as pool:
            try:
                pending: set[Future[Written]] = set()
                more = True
                while more or pending:
                    while more and len(pending) < workers:
                        number = take()
                        more = number < shards
                        if more:
                            pending.add(pool.submit(_write, number))
                    finished, pending = wait(pending, return_when=FIRST_COMPLETED)
                    for future in finished:
                        bar.update(future.result().items)
                        yield future.result()
            except BrokenProcessPool as error:
                advice = "run pack again, it goes on; fewer --workers need less memory"
                raise OSError(f"{job.folder}: a packing process died (killed, or out of memory?); {advice}") from error
            finally:
                pool.shutdown(cancel_futures=True)


_job: Job
_listing: Listing


def _begin(job: Job) -> None:
    """Make a process of the pool ready. It ends with its parent, however that ends, and leaves Ctrl-C to it."""
    global _job, _listing
    _job, _listing = job, Listing(job.listing)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait_for([parent.sentinel])
    os._exit(1)


def _write(number: int) -> Written:
    return write_shard(_job, _listing, number)
