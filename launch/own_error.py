"""An error that one rank met by itself, said by that rank."""

from __future__ import annotations

from launch import distributed


def own_error(reason: str) -> ValueError | OSError:
    """The error to raise for what only this rank met: `launch.command` shows a ValueError of rank 0 alone, taking it for one that all ranks have."""
    return ValueError(reason) if distributed.rank() == 0 else OSError(reason)
