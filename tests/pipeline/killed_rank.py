"""pipeline.train under torchrun, where the last rank is killed once: as it begins a step that no checkpoint is of.

torchrun --nproc_per_node R --max-restarts 1 -m tests.pipeline.killed_rank MARK [flags of pipeline.train]
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from launch.command import run_command
from pipeline import train
from tests.pipeline.killed import die_at

STEP = 6


def main(_: list[str] | None) -> None:
    mark = Path(sys.argv[1])
    if int(os.environ["RANK"]) == int(os.environ["WORLD_SIZE"]) - 1 and not mark.exists():
        mark.touch()
        die_at("pipeline.training.step:Step.__call__", STEP)
    train.main(sys.argv[2:])


if __name__ == "__main__":
    run_command(main)
