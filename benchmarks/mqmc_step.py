"""Seconds of a training step of MQMC at the published size, what of them goes into matrix products, and the plain way beside it.

    python benchmarks/mqmc_step.py [--batch 256] [--categories 30] [--queue_size 2048] [--rounds 5] [--device auto]

Random features (vision 2048, words 768), full queues, forward, backward, Adam, key encoders and enqueue; in fp32, and in bf16 or fp16 where
the device computes in it. The plain way is the same system whose contrast makes the whole logits (one product, torch.cat, cross_entropy,
autograd). A round is a step, and the same step again with a clock around each of its matrix products; after a round that counts for nothing
the quickest of each counts. The last line is one JSON object.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

if not __package__:  # started as a file: the rooms are beside its folder
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils._python_dispatch import TorchDispatchMode

from launch.command import CommandParser, run_command
from launch.logs import say
from losses.weighted_queue_contrast import Negatives, WeightedQueueContrast, weighted_logits
from pipeline.precision import autocast, cpu_has_bf16, loss_scaler
from pipeline.recipes.mqmc.categories import Categories
from pipeline.recipes.mqmc.runs import real
from pipeline.recipes.mqmc.settings import MQMCSettings
from pipeline.recipes.mqmc.sizes import SideSizes, Sizes
from pipeline.recipes.mqmc.system import MQMC
from pipeline.training.optim import optimiser_of

VISION, WORDS = 2048, 768
PRODUCTS = {torch.ops.aten.mm, torch.ops.aten.addmm, torch.ops.aten.addmm_, torch.ops.aten.bmm, torch.ops.aten.baddbmm}
PARTS = ("forward_s", "backward_s", "optimiser_s", "queues_s")


class PlainContrast(WeightedQueueContrast):
    """The same loss by way of the whole logits and plain autograd."""

    def forward(self, query: Tensor, positive: Tensor, negatives: Negatives, *, weight: Tensor | None = None) -> Tensor:
        assert weight is None
        logits = weighted_logits(query, positive, negatives, self.temperature)
        return cross_entropy(logits.float(), torch.zeros(len(query), dtype=torch.long, device=query.device))


class MatrixClock(TorchDispatchMode):
    """Adds up the seconds of the matrix products that run inside it."""

    def __init__(self, wait: Callable[[], None]) -> None:
        super().__init__()
        self.seconds, self._wait = 0.0, wait

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket not in PRODUCTS:
            return func(*args, **(kwargs or {}))
        self._wait()
        start = time.perf_counter()
        found = func(*args, **(kwargs or {}))
        self._wait()
        self.seconds += time.perf_counter() - start
        return found


class Measured:
    """A system with full queues, and what a step of it takes."""

    def __init__(self, given: Any, precision: str, device: torch.device, plain: bool) -> None:
        torch.manual_seed(0)
        recipe = real()
        settings = MQMCSettings(queue_size=given.queue_size, empty_slots="random")
        upper = tuple(number * 6 // given.categories for number in range(given.categories))
        side = SideSizes(VISION, WORDS)
        self.system = MQMC(settings, Sizes(side, side), Categories(upper))
        if plain:
            self.system.contrast = PlainContrast(settings.temperature)
        self.system.to(device).train()
        self.optimiser, self.scaler = optimiser_of(self.system.parts(), recipe.optim), loss_scaler(precision)
        self.batch = {name: value.to(device) for name, value in batch_of(given.batch, given.categories).items()}
        self.precision, self.device, self.rounds = precision, device, given.rounds

    def quickest(self) -> dict[str, float]:
        """Seconds of the quickest step and of its parts, and of the quickest matrix products of a step."""
        steps, products = [], []
        for _ in range(1 + self.rounds):
            steps.append(self._step())
            with MatrixClock(self._wait) as clock:
                self._step()
            products.append(clock.seconds)
        found = min(steps[1:], key=lambda one: sum(one.values()))
        return {"step_s": sum(found.values()), "matrix_s": min(products[1:]), **found}

    def _step(self) -> dict[str, float]:
        loss = torch.zeros(())

        def forward() -> None:
            nonlocal loss
            with autocast(self.precision, self.device):
                terms = self.system(self.batch)
            loss = torch.stack([term.float() for term in terms.values()]).sum()

        def backward() -> None:
            self.scaler.scale(loss).backward()

        def update() -> None:
            self.scaler.unscale_(self.optimiser)
            self.scaler.step(self.optimiser)
            self.scaler.update()
            self.optimiser.zero_grad(set_to_none=True)

        return dict(zip(PARTS, (self._seconds(work) for work in (forward, backward, update, self.system.after_step))))

    def _seconds(self, work: Callable[[], Any]) -> float:
        self._wait()
        start = time.perf_counter()
        work()
        self._wait()
        return time.perf_counter() - start

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def batch_of(size: int, categories: int) -> dict[str, Tensor]:
    """Random pairs, each of a product of its own."""
    batch: dict[str, Tensor] = {"middle": torch.arange(size) % categories, "query": torch.arange(size)}
    for side in ("video", "goods"):
        for modality, width in (("vision", VISION), ("words", WORDS)):
            batch[f"{side}_{modality}"] = torch.randn(size, width)
            batch[f"{side}_has_{modality}"] = torch.ones(size, dtype=torch.bool)
    return batch


def precisions(device: torch.device) -> list[str]:
    """fp32, and what the device computes fast beside it."""
    if device.type == "cpu":
        return ["fp32", "bf16"] if cpu_has_bf16() else ["fp32"]
    return ["fp32", "bf16"] if torch.cuda.get_device_capability(device)[0] >= 8 else ["fp32", "fp16"]


def in_words(name: str, found: dict[str, float]) -> str:
    parts = ", ".join(f"{part.removesuffix('_s')} {found[part]:.3f}" for part in PARTS)
    share = found["matrix_s"] / found["step_s"]
    return f"{name}: {found['step_s']:.3f} s a step, of which matrix products {found['matrix_s']:.3f} ({share:.0%}); {parts}"


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and measure."""
    parser = CommandParser(prog="python benchmarks/mqmc_step.py", description=__doc__)
    parser.add_argument("--batch", type=int, default=256, help="pairs of a step (default: %(default)s, as published)")
    parser.add_argument("--categories", type=int, default=30, help="middle categories (default: %(default)s, as published)")
    parser.add_argument("--queue_size", type=int, default=2048, help="rows of a queue (default: %(default)s, as published)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds after the first; the quickest counts (default: %(default)s)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto = GPU where there is one (default)")
    given = parser.parse_args(argv)
    device = torch.device("cuda" if given.device == "auto" and torch.cuda.is_available() else given.device.replace("auto", "cpu"))
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    say(f"{name}, batch {given.batch}, queues {given.categories} x {given.queue_size} a side")
    ways: dict[str, dict[str, float]] = {}
    for precision in precisions(device):
        for way in ("ours", "plain"):
            ways[f"{precision} {way}"] = found = Measured(given, precision, device, plain=way == "plain").quickest()
            say(in_words(f"{precision} {way}", found))
    if len(ways) == 2:
        say("bf16: not measured, this processor has no instructions for it")
    sizes = {"batch": given.batch, "categories": given.categories, "queue_size": given.queue_size}
    say(json.dumps({"benchmark": "mqmc_step", "device": name, **sizes, **ways["fp32 ours"], "ways": ways}))


if __name__ == "__main__":
    run_command(main)
