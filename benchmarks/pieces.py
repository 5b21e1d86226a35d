"""Peak memory and seconds of a training step whole, in pieces (gradient caching), and with gradient checkpointing, in one run.

    python -m benchmarks.pieces [--batch 64] [--pieces 8 16] [--rounds 3] [--device auto] [--precision auto]

QCD over a ViT and a BERT of random weights (by default 6 layers of width 384, images of 96 pixels, 5 frames), all of it trained, on
random documents. Each way runs in a process of its own; after one step that counts for nothing the quickest round counts. Peak memory is
what the step adds to weights and optimiser: of the process's resident size on a CPU, of the allocator on a GPU. The last line is one JSON
object.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.random_qcd import batch_of, system_of
from launch.command import CommandParser, run_command
from launch.logs import say
from pipeline.precision import loss_scaler, resolve_precision
from pipeline.recipe import Optim
from pipeline.training.optim import optimiser_of
from pipeline.training.step import Step


def measure(given: Any) -> dict[str, float]:
    """Seconds of the quickest step, and the memory that a step adds, in this process."""
    device = torch.device("cuda" if given.device == "auto" and torch.cuda.is_available() else given.device.replace("auto", "cpu"))
    precision = resolve_precision(given.precision, device)
    torch.manual_seed(0)
    system: Any = system_of(given.width, given.layers, given.pixels, given.side == "checkpointing").to(device)
    optimiser = optimiser_of(system.parts(), Optim(lr=1e-5))
    step = Step(
        system,
        system,
        optimiser,
        loss_scaler(precision),
        precision=precision,
        device=device,
        piece_size=int(given.side) if given.side.isdigit() else 0,
        clip_norm=5.0,
        seen=lambda terms: {name: float(term.detach()) for name, term in terms.items()},
    )
    # The first step, of few rows, makes the optimiser's own memory.
    step([batch_of(8, given.pixels)])
    batch = batch_of(given.batch, given.pixels)
    before = _used(device)
    seconds = []
    for _ in range(given.rounds):
        start = time.perf_counter()
        loss = step([batch])["loss"]
        seconds.append(time.perf_counter() - start)
    return {"seconds": min(seconds), "peak_mb": (_peak(device) - before) / 1e6, "last_loss": loss}


def _used(device: torch.device) -> int:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    return _kernel("VmRSS")


def _peak(device: torch.device) -> int:
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else _kernel("VmHWM")


def _kernel(name: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and measure."""
    parser = CommandParser(prog="python -m benchmarks.pieces", description=__doc__)
    parser.add_argument("--batch", type=int, default=64, help="documents of a step (default: %(default)s)")
    parser.add_argument("--pieces", type=int, nargs="+", default=[8, 16], help="rows of a piece (default: %(default)s)")
    parser.add_argument("--width", type=int, default=384, help="width of both towers (default: %(default)s)")
    parser.add_argument("--layers", type=int, default=6, help="layers of both towers (default: %(default)s)")
    parser.add_argument("--pixels", type=int, default=96, help="side of an image (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="steps of each way; the quickest counts (default: %(default)s)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto = GPU where there is one (default)")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16", "fp16"), default="auto", help="of the forward (default: %(default)s)")
    parser.add_argument("--side", help="measure one way; used by the program itself")
    given = parser.parse_args(argv)
    if given.side:
        print(json.dumps(measure(given)))
        return
    names = ("batch", "width", "layers", "pixels", "rounds", "device", "precision")
    flags = [word for name in names for word in (f"--{name}", str(getattr(given, name)))]
    found = {}
    for side in ("whole", "checkpointing", *map(str, given.pieces)):
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.pieces", *flags, "--side", side], capture_output=True, text=True, cwd=Path(__file__).parent.parent
        )
        label = f"pieces of {side}" if side.isdigit() else side
        if done.returncode:
            found[label] = {"failed": (done.stderr.splitlines() or [f"exit code {done.returncode}"])[-1]}
            say(f"{label}: {found[label]['failed']}")
            continue
        found[label] = json.loads(done.stdout.splitlines()[-1])
        say(f"{label}: {found[label]['seconds']:.2f} s a step, {found[label]['peak_mb']:.0f} MB, last loss {found[label]['last_loss']:.4f}")
    say(json.dumps({"benchmark": "pieces", **{name: getattr(given, name) for name in names}, "ways": found}))


if __name__ == "__main__":
    run_command(main)
