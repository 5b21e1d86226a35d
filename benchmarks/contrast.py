"""Peak memory and seconds of the contrast in tiles beside two calls of InfoNCE on whole matrices, forward and backward, in one run.

    python -m benchmarks.contrast [--sizes 2048 8192 32768] [--dim 512] [--tile 1024] [--rounds 3]

Pairs of random float32 embeddings on the CPU, both directions, no masks. Each way runs in a process of its own; of its rounds the quickest
counts. Peak memory is the process's highest resident size minus what it was with the embeddings made and everything warm: what the loss and
the gradients add. The plain way is left out, with the reason, where the machine has not memory enough for it. The largest difference of
their gradients is taken at the smallest size, as a share of the largest gradient. The last line is one JSON object.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from launch.command import CommandParser, run_command
from launch.logs import say
from losses.contrastive import InfoNCE
from losses.tiled_contrast import TiledContrast

PLAIN_MATRICES = 4
"""[B, B] float32 matrices that the plain way holds at its peak, as measured: both directions' softmax, and a gradient and what it came from"""
TO_SPARE = 2e9
"""bytes that stay free for others"""

Loss = Callable[[Tensor, Tensor], Tensor]


def losses(tile: int) -> dict[str, Loss]:
    """Both ways, from two sides of pairs [B, D]."""
    tiled, plain = TiledContrast(tile=tile), InfoNCE()

    def in_tiles(query: Tensor, candidates: Tensor) -> Tensor:
        return tiled(query, candidates, torch.arange(len(query)))

    def whole(query: Tensor, candidates: Tensor) -> Tensor:
        own = torch.arange(len(query))
        return (plain(query, candidates, own) + plain(candidates, query, own)) / 2

    return {"tiled": in_tiles, "plain": whole}


def embeddings(size: int, dim: int) -> tuple[Tensor, Tensor]:
    """Pairs that resemble each other a little, two [B, D] leaves."""
    torch.manual_seed(0)
    query, candidates = torch.randn(size, dim), torch.randn(size, dim)
    candidates.add_(query, alpha=0.25)  # cosines near 0.24: nearer than others by so little that every pair has something to say
    return query.requires_grad_(), candidates.requires_grad_()


def measure(loss: Loss, size: int, dim: int, rounds: int) -> dict[str, float]:
    """Seconds of the quickest round, and the memory that this process added."""
    loss(*embeddings(64, dim)).backward()
    query, candidates = embeddings(size, dim)
    before = bytes_of("/proc/self/status", "VmRSS")
    seconds = []
    for _ in range(rounds):
        query.grad = candidates.grad = None
        start = time.perf_counter()
        loss(query, candidates).backward()
        seconds.append(time.perf_counter() - start)
    return {"seconds": min(seconds), "peak_mb": (bytes_of("/proc/self/status", "VmHWM") - before) / 1e6}


def largest_difference(size: int, dim: int, tile: int) -> dict[str, float]:
    """Of the gradients of both ways in any number, absolute and as a share of the largest number of the plain one."""
    pair = embeddings(size, dim)
    tiled, plain = (torch.cat(torch.autograd.grad(loss(*pair), pair)) for loss in losses(tile).values())
    apart, largest = (tiled - plain).abs().max().item(), plain.abs().max().item()
    return {"absolute": apart, "share_of_largest": apart / largest}


def run_side(side: str, size: int, options: dict[str, int]) -> dict[str, Any]:
    """What `side` prints in a process of its own; or why it did not come to an end, where memory ran out."""
    command = [sys.executable, "-m", "benchmarks.contrast", "--side", side, "--sizes", str(size)]
    for name, value in options.items():
        command += [f"--{name}", str(value)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent.parent)
    if done.returncode == -signal.SIGKILL or "can't allocate memory" in done.stderr:
        return {"failed": "out of memory"}
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def too_large(size: int, dim: int) -> str | None:
    """Why the plain way does not start at this size, or None where there is memory for it."""
    needed = PLAIN_MATRICES * 4 * size**2 + 12 * 4 * size * dim + TO_SPARE
    available = bytes_of("/proc/meminfo", "MemAvailable")
    if needed <= available:
        return None
    return f"needs about {needed / 1e9:.1f} GB with {TO_SPARE / 1e9:.0f} GB to spare, {available / 1e9:.1f} GB are available"


def bytes_of(file: str, name: str) -> int:
    """One of the kernel's sizes."""
    return int(next(line for line in Path(file).read_text().splitlines() if line.startswith(f"{name}:")).split()[1]) * 1024


def in_words(way: str, found: dict[str, Any]) -> str:
    for kind in ("skipped", "failed"):
        if kind in found:
            return f"{way} {kind}: {found[kind]}"
    return f"{way} {found['seconds']:.3f} s, {found['peak_mb']:.0f} MB"


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and measure."""
    parser = CommandParser(prog="python -m benchmarks.contrast", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[2048, 8192, 32768], help="pairs of a batch (default: %(default)s)")
    parser.add_argument("--dim", type=int, default=512, help="width of an embedding (default: %(default)s)")
    parser.add_argument("--tile", type=int, default=1024, help="candidates compared at a time (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="repetitions of each way; the quickest counts (default: %(default)s)")
    parser.add_argument("--side", choices=("tiled", "plain", "difference"), help="measure one side at one size; used by the program itself")
    given = parser.parse_args(argv)
    if given.side == "difference":
        print(json.dumps(largest_difference(given.sizes[0], given.dim, given.tile)))
        return
    if given.side:
        print(json.dumps(measure(losses(given.tile)[given.side], given.sizes[0], given.dim, given.rounds)))
        return
    options = {"dim": given.dim, "tile": given.tile, "rounds": given.rounds}
    load_before = os.getloadavg()[0]
    sizes: dict[int, dict[str, Any]] = {}
    for size in sorted(given.sizes):
        tiled = run_side("tiled", size, options)
        reason = too_large(size, given.dim)
        plain = {"skipped": reason} if reason else run_side("plain", size, options)
        sizes[size] = {"tiled": tiled, "plain": plain}
        if "seconds" in tiled and "seconds" in plain:
            sizes[size] |= {"times_faster": plain["seconds"] / tiled["seconds"], "memory_share": tiled["peak_mb"] / plain["peak_mb"]}
        say(f"{size} x {given.dim}: {in_words('tiled', tiled)}; {in_words('plain', plain)}")
    smallest = min(given.sizes)
    difference = {"skipped": reason} if (reason := too_large(smallest, given.dim)) else run_side("difference", smallest, options)
    if "share_of_largest" in difference:
        say(f"gradients differ by {difference['share_of_largest']:.1e} of the largest, at {smallest} x {given.dim}")
    figures = {
        "benchmark": "contrast",
        **options,
        "threads": torch.get_num_threads(),
        "load_before": load_before,
        "sizes": sizes,
        "gradient_differs_by": difference,
    }
    say(json.dumps(figures))


if __name__ == "__main__":
    run_command(main)
