"""Several commands one after the other in one torchrun job, since most of a short job's time goes into starting its processes.

run_on_ranks(3, ["pipeline.train", "--data", ...], ["pipeline.embed", ...])
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

from launch import distributed

ROOT = Path(__file__).resolve().parents[2]


def run_on_ranks(ranks: int, *commands: list[str]) -> None:
    """Run each command's module (its `main`) with its flags in `ranks` processes of one thread each; with one rank, in this process."""
    if ranks == 1:
        _run(list(commands))
        return
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(ranks)]
    done = subprocess.run(
        [*launcher, "-m", "tests.pipeline.commands_on_ranks", json.dumps(commands)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _run(commands: list[list[str]]) -> None:
    for module, *flags in commands:
        importlib.import_module(module).main(flags)


if __name__ == "__main__":
    distributed.start("cpu", timeout_s=120)
    leave = distributed.stop
    distributed.stop = lambda: None  # a job cannot be joined again, so the commands find it joined and do not leave it
    _run(json.loads(sys.argv[1]))
    leave()
