"""Checkpoints written beside the training: a step waits for a copy in memory, not for the disk."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from launch import distributed
from launch.logs import say
from pipeline.checkpoint.contents import Contents
from pipeline.checkpoint.folder import CheckpointFolder, NotWritten


class Background:
    """Writes one checkpoint at a time, in a thread of rank 0; all ranks have one of these.

    torch.save and the checksums leave Python's lock to others while they work on tensors, so a thread is enough. A checkpoint that the disk
    has no room for does not end the run: it is said, and the next one is tried. Any other error ends it at the step after.

    Args:
        keep: newest checkpoints kept.
    """

    def __init__(self, folder: CheckpointFolder, keep: int) -> None:
        self._folder, self._keep = folder, keep
        self._pool = ThreadPoolExecutor(1, "checkpoint")
        self._writing: Future[Path] | None = None
        self._failure: str | None = None

    def __enter__(self) -> Background:
        return self

    def __exit__(self, *exception: object) -> None:
        self.wait()

    def begin(self, contents: Contents) -> None:
        """Start writing; on rank 0, once `settle` has returned."""
        assert self._writing is None, "one checkpoint at a time: settle first"
        self._writing = self._pool.submit(self._folder.put, contents, self._keep)

    def look(self) -> None:
        """Say what went wrong, if writing has ended and something did. Raises the error where it is not the disk's."""
        if self._writing is not None and self._writing.done():
            self.wait()

    def wait(self) -> None:
        """Until nothing is being written; this rank alone. Says and raises as `look`."""
        writing, self._writing = self._writing, None
        if writing is not None:
            try:
                writing.result()
            except NotWritten as error:
                self._failure = str(error)
                say(f"{self._failure}; the run goes on and tries again at the next checkpoint")

    def settle(self) -> str | None:
        """Wait, and tell all ranks, which call this together, why the last checkpoint was not written; None where it was."""
        self.wait()
        failure, self._failure = self._failure, None
        return distributed.broadcast_object(failure)  # type: ignore[return-value]
