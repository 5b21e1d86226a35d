"""How long a step waits for a checkpoint: written at once, or copied and written beside the steps that follow.

    python -m benchmarks.checkpoint_stall [--parameters 50000000] [--checkpoints 3] [--steps 8] [--rounds 2] [--folder FOLDER]

A model of one layer with Adam takes steps of a fixed amount of arithmetic; every --steps steps it is checkpointed: weights, both moments, fsync,
checksums. `none` takes the same steps without any, `at once` waits for the disk, `beside` is what the trainer does (pipeline.checkpoint.Background).
The stall is what a step with a checkpoint takes longer than the median one of `none`; the total counts all steps and the wait at the end. Ways
take turns; the last line is one JSON object.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from pathlib import Path
from statistics import median

import torch

from launch.command import CommandParser, run_command
from pipeline.checkpoint import Background, CheckpointFolder, State, contents_of
from pipeline.recipe import resolve

WAYS = ("none", "at once", "beside")


class Layer(torch.nn.Linear):
    """As much of a system as a checkpoint asks for."""

    def describe(self) -> dict[str, int]:
        return {"inputs": self.in_features}

    def save_files(self, folder: Path) -> None:
        """It has none."""


def run(way: str, folder: Path, parameters: int, checkpoints: int, every: int) -> tuple[list[float], list[float], float]:
    """Seconds of each step without a checkpoint, of each with one, and of everything together."""
    side = round(parameters**0.5)
    torch.manual_seed(0)
    layer, recipe = Layer(side, side, bias=False), resolve("qcd:smoke")
    optimiser = torch.optim.Adam(layer.parameters(), lr=1e-4)
    rows = torch.randn(64, side)
    plain: list[float] = []
    stalled: list[float] = []
    begun = time.perf_counter()
    with Background(CheckpointFolder(folder), keep=1) as background:
        for step in range(1, checkpoints * every + 1):
            start = time.perf_counter()
            layer(rows).square().mean().backward()
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            due = step % every == 0
            if due and way != "none":
                background.settle()
                background.begin(contents_of(layer, recipe, State(step=step), {"optimiser": optimiser.state_dict()}))  # type: ignore[arg-type]
                if way == "at once":
                    background.settle()
            (stalled if due else plain).append(time.perf_counter() - start)
    return plain, stalled, time.perf_counter() - begun


def main(argv: list[str] | None = None) -> None:
    """Parse the command line, measure, print."""
    parser = CommandParser("python -m benchmarks.checkpoint_stall", __doc__)
    parser.add_argument("--parameters", type=int, default=50_000_000, help="of the model; a checkpoint holds three times as many floats")
    parser.add_argument("--checkpoints", type=int, default=3, help="checkpoints of a run (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=8, help="steps between two of them (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=2, help="runs of each way, of which the quicker counts (default: %(default)s)")
    parser.add_argument("--folder", type=Path, help="a new folder on the disk to be measured (default: a temporary one)")
    given = parser.parse_args(argv)
    if given.folder and given.folder.exists():
        raise ValueError(f"--folder {given.folder} exists; name a new one")
    folder = given.folder or Path(tempfile.mkdtemp(prefix="checkpoint-stall-"))
    found: dict[str, dict[str, float]] = {}
    try:
        for _ in range(given.rounds):
            for way in WAYS:
                plain, stalled, total = run(way, folder / way.replace(" ", "_"), given.parameters, given.checkpoints, given.steps)
                step = median(plain) if way == "none" else found["none"]["step_ms"] / 1000
                row = {"step_ms": median(plain) * 1000, "stall_ms": max(0.0, median(stalled) - step) * 1000, "total_s": total}
                if way not in found or total < found[way]["total_s"]:
                    found[way] = {name: round(value, 3) for name, value in row.items()}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps({"parameters": given.parameters, "megabytes": round(given.parameters * 12 / 1e6), "checkpoints": given.checkpoints, **found}))


if __name__ == "__main__":
    run_command(main)
