"""What a rank says when another one is gone or silent: who, what happened, what to do. One line, and the process ends at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from launch import distributed
from launch.command import leave_at_once


def rank_lost(error: RuntimeError) -> bool:
    """True where an exchange between ranks failed: torch has a class for NCCL's and the store's errors, gloo's say so in their words alone."""
    return isinstance(error, torch.distributed.DistError) or "/gloo/" in str(error)


def what_was_lost(error: RuntimeError, silent: str, when: str, goes_on: str) -> str:
    """The line for `error`.

    Args:
        silent: what is said of a rank that does not answer, e.g. "did not answer for 30 s (--trainer.timeout_s)".
        when: e.g. "after step 3".
        goes_on: what the same command, started again, does, e.g. "it goes on from STEP, which is whole".
    """
    said = str(error).splitlines()[0].rpartition("] ")[2]
    happened = silent if "timed out" in said.lower() else "broke off the connection"
    return (
        f"rank {distributed.rank()} of {distributed.world_size()}: another rank {happened} {when}; see what that rank's log says and whether "
        f"its node is reachable, then start the same command on every node: {goes_on} ({said})"
    )


@contextmanager
def ending_when_lost(when: str, goes_on: str) -> Iterator[None]:
    """Work on several ranks, during which this process says so and ends (exit code 2) where another rank is lost."""
    try:
        yield
    except RuntimeError as error:
        if not rank_lost(error):
            raise
        leave_at_once(what_was_lost(error, "did not answer in time", when, goes_on))
