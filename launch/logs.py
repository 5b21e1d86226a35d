"""What a person sees: one line a message, a bar with ETA on rank 0."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm


def is_main() -> bool:
    """True on rank 0 of a torchrun job and where there is no job."""
    return int(os.environ.get("RANK", "0")) == 0


def say(message: str) -> None:
    """Print `message` on rank 0, above a running progress bar."""
    if is_main():
        tqdm.write(message, file=sys.stdout)
        sys.stdout.flush()


def progress(
    iterable: Iterable[Any] | None = None, *, total: int | None = None, initial: int = 0, what: str = "", unit: str = "it", quiet: bool = False
) -> tqdm:
    """A tqdm bar on standard error: on rank 0 alone, redrawn ten times a second on a terminal and every ten seconds in a log; none where `quiet`."""
    interval = 0.1 if sys.stderr.isatty() else 10.0
    hidden = quiet or not is_main()
    return tqdm(iterable, total=total, initial=initial, desc=what, unit=unit, mininterval=interval, disable=hidden, dynamic_ncols=True)
