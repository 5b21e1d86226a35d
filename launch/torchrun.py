"""torchrun, which passes on a wish to stop and says so with its exit code.

    python -m launch.torchrun --nproc_per_node 8 -m pipeline.train ...

What torchrun itself does at SIGTERM: the ranks get it, too, and half a minute to end (training takes its checkpoint; with torch 2.13
TORCH_ELASTIC_SHUTDOWN_TIMEOUT=120 gives them two), and it leaves with exit code 1 and a page of traceback. SIGUSR1, which Slurm sends before a
time limit, ends torchrun at once and leaves the ranks behind. Here both are the same wish, and the exit code is 75.
"""

from __future__ import annotations

import signal
import sys

from torch.distributed import run
from torch.distributed.elastic.multiprocessing.api import SignalException

EXIT_ASKED = 75
"""EX_TEMPFAIL: start the same command again to go on."""


def main(argv: list[str] | None = None) -> None:
    """torchrun's command line."""
    signal.signal(signal.SIGUSR1, lambda number, frame: signal.raise_signal(signal.SIGTERM))
    try:
        run.main(argv)
    except SignalException as asked:
        if asked.sigval != signal.SIGTERM:
            raise
        sys.exit(EXIT_ASKED)


if __name__ == "__main__":
    main()
