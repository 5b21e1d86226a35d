"""Samples a second of a training step of QCD at the published size, and its share of the device's measured matrix rate.

    python -m benchmarks.step                                            ViT-B/16 and RoBERTa-base, batch 80, and the largest that fits
    python -m benchmarks.step --width 128 --layers 2 --pixels 64 --batch 8      a size for a CPU

Towers of random weights, all of them trained, 5 frames of 224 pixels, 64 tokens, Adam; batches are in the device's memory already. Of five
steps after two that count for nothing, the median counts. Operations are those that torch counts in one step's forward and backward; the
matrix rate is that of a square product in the same precision, measured here. Forward, backward and the rest are timed apart, which tells
what bounds a step. The last line is one JSON object.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.random_qcd import batch_of, system_of
from launch.command import CommandParser, run_command
from launch.logs import say
from pipeline.precision import autocast, cpu_has_bf16, loss_scaler
from pipeline.recipe import Optim
from pipeline.training.optim import optimiser_of

WARM, COUNTED = 2, 5
MATRIX = {"cuda": 8192, "cpu": 2048}
"""Side of the product whose rate is measured."""


def precisions(device: torch.device) -> list[str]:
    """What the device computes fast."""
    if device.type == "cpu":
        return ["fp32", "bf16"] if cpu_has_bf16() else ["fp32"]
    return ["bf16", "fp16"] if torch.cuda.get_device_capability(device)[0] >= 8 else ["fp16"]


def matrix_rate(precision: str, device: torch.device) -> float:
    """Operations a second of a square product."""
    side = MATRIX[device.type]
    kind = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    one, other = (torch.randn(side, side, device=device, dtype=kind) for _ in range(2))
    return 2 * side**3 / statistics.median(_seconds(lambda: one @ other, device) for _ in range(WARM + COUNTED))


def _seconds(work: Callable[[], Any], device: torch.device) -> float:
    _wait(device)
    start = time.perf_counter()
    work()
    _wait(device)
    return time.perf_counter() - start


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Measured:
    """A system and what a step of it takes, part by part."""

    def __init__(self, given: Any, precision: str, device: torch.device) -> None:
        torch.manual_seed(0)
        self.system: Any = system_of(given.width, given.layers, given.pixels).to(device).train()
        self.optimiser, self.scaler = optimiser_of(self.system.parts(), Optim(lr=1e-5)), loss_scaler(precision)
        self.precision, self.device, self.pixels = precision, device, given.pixels
        if given.compile:
            self.system.compile_towers(given.compile)

    def operations(self, size: int) -> int:
        """Of a forward and a backward, as torch counts them."""
        with FlopCounterMode(display=False) as counter:
            self._forward(self._batch(size)).backward()
        self.optimiser.zero_grad(set_to_none=True)
        return counter.get_total_flops()

    def step(self, size: int) -> dict[str, float]:
        """Seconds of the median step and of its parts, and its peak memory on a GPU."""
        batch, parts = self._batch(size), []
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        loss = torch.zeros(())

        def forward() -> None:
            nonlocal loss
            loss = self._forward(batch)

        def backward() -> None:
            self.scaler.scale(loss).backward()

        for _ in range(WARM + COUNTED):
            taken = [_seconds(work, self.device) for work in (forward, backward, self._update)]
            parts.append({"seconds": sum(taken), **dict(zip(("forward", "backward", "update"), taken))})
        found = sorted(parts[WARM:], key=lambda one: one["seconds"])[COUNTED // 2]
        if self.device.type == "cuda":
            found["peak_gb"] = torch.cuda.max_memory_allocated(self.device) / 1e9
        return found

    def largest(self, start: int) -> int:
        """The largest batch that fits, found by doubling and halving, to a sixteenth; 0 where not even `start` does."""
        fits, fails = 0, None
        size = start
        while fails is None or fails - fits > max(1, fits // 16):
            if self._fits(size):
                fits = size
            else:
                fails = size
            size = 2 * fits if fails is None else (fits + fails) // 2
            if size == 0:
                return 0
        return fits

    def _fits(self, size: int) -> bool:
        try:
            self._forward(self._batch(size)).backward()
            self._update()
        except torch.cuda.OutOfMemoryError:
            self.optimiser.zero_grad(set_to_none=True)
            torch.cuda.empty_cache()
            return False
        return True

    def _batch(self, size: int) -> dict[str, torch.Tensor]:
        return {name: value.to(self.device) for name, value in batch_of(size, self.pixels).items()}

    def _forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        with autocast(self.precision, self.device):
            terms = self.system(batch)
        return torch.stack([term.float() for term in terms.values()]).sum()

    def _update(self) -> None:
        self.scaler.unscale_(self.optimiser)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.optimiser.zero_grad(set_to_none=True)


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and measure."""
    parser = CommandParser(prog="python -m benchmarks.step", description=__doc__)
    parser.add_argument("--batch", type=int, default=80, help="documents of a step (default: %(default)s, as published for a V100)")
    parser.add_argument("--width", type=int, default=768, help="width of both towers (default: %(default)s)")
    parser.add_argument("--layers", type=int, default=12, help="layers of both towers (default: %(default)s)")
    parser.add_argument("--pixels", type=int, default=224, help="side of an image (default: %(default)s)")
    parser.add_argument("--compile", default="", help="backend of torch.compile, e.g. inductor (default: not compiled)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto = GPU where there is one (default)")
    given = parser.parse_args(argv)
    device = torch.device("cuda" if given.device == "auto" and torch.cuda.is_available() else given.device.replace("auto", "cpu"))
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    rows = []
    for precision in precisions(device):
        rate, measured = matrix_rate(precision, device), Measured(given, precision, device)
        sizes = [given.batch] + ([measured.largest(given.batch)] if device.type == "cuda" else [])
        for size in sorted({size for size in sizes if size}):
            found = measured.step(size)
            operations = measured.operations(size)
            row = {"precision": precision, "batch": size, "samples_per_s": size / found["seconds"], **found}
            row |= {
                "tera_operations": operations / 1e12,
                "matrix_tera_per_s": rate / 1e12,
                "share_of_matrix_rate": operations / found["seconds"] / rate,
            }
            rows.append(row)
            say(
                f"{name}, {precision}, batch {size}: {row['samples_per_s']:.1f} samples/s, {row['share_of_matrix_rate']:.0%} of "
                f"{rate / 1e12:.1f} T/s; forward {found['forward']:.3f} s, backward {found['backward']:.3f} s, update {found['update']:.3f} s"
            )
        del measured
    say(json.dumps({"benchmark": "step", "device": name, "width": given.width, "layers": given.layers, "pixels": given.pixels, "rows": rows}))


if __name__ == "__main__":
    run_command(main)
