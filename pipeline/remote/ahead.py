"""Fetching what will be needed soon, beside the work: a few threads a process, first asked for first fetched."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Iterable

from pipeline.remote.cache import Cache, Wanted
from pipeline.remote.retries import NotFetched

THREADS = 2
"""Files that a process fetches at a time beside the one it waits for."""


class Ahead:
    """Brings files into `cache` in threads that end with the process.

    What cannot be had is left alone: whoever needs it meets the error itself, at the place where it matters.
    """

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._process = 0
        self._waiting: queue.SimpleQueue[Wanted] = queue.SimpleQueue()

    def ask(self, files: Iterable[Wanted]) -> None:
        """Have `files` fetched in this order; returns at once."""
        if self._process != os.getpid():  # threads do not come along into a forked process
            self._process, self._waiting = os.getpid(), queue.SimpleQueue()
            for _ in range(THREADS):
                threading.Thread(target=self._work, args=(self._waiting,), daemon=True).start()
        for file in files:
            self._waiting.put(file)

    def _work(self, waiting: queue.SimpleQueue[Wanted]) -> None:
        while True:
            try:
                self._cache.bring(waiting.get(), wait=False)
            except (NotFetched, ValueError, OSError):
                continue
