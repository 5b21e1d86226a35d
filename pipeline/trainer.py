"""The training loop, read top to bottom: restore, epochs, steps, checkpoints, validation. It knows a System, and no paper.

Gradients: DDP averages over ranks; losses gather rows with a true gradient (launch.distributed.gather_rows), so R ranks take the step
that one process takes on the whole batch.
"""

from __future__ import annotations

import itertools
import math
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from launch import distributed
from launch.logs import is_main, progress, say
from launch.seeds import seed_everything
from pipeline.checkpoint import CheckpointFolder, State, load_average, load_weights
from pipeline.ema import WeightAverage
from pipeline.optim import optimiser_of, scale_at, set_learning_rate
from pipeline.order import order_of
from pipeline.precision import loss_scaler, resolve_precision
from pipeline.recipe import Recipe
from pipeline.run_log import RunLog, run_log
from pipeline.shards import ShardSet
from pipeline.step import Step
from pipeline.stream import Slice, training_batches
from pipeline.system import System
from pipeline.validation import better, validate

EXIT_PREEMPTED = 75
"""Exit code after SIGTERM or SIGUSR1 with a checkpoint written (EX_TEMPFAIL: start the same command again to go on)."""


class Trainer:
    """One run: `system` trained on `shards` by `recipe`, everything it writes below `out`.

    Args:
        system: built with the same seed on every rank.
        validation: shard set with ground truth, searched while training; None: no validation, no best checkpoint.

    Raises:
        ValueError: the batch does not divide among the ranks, or a setting does not fit this machine.
    """

    def __init__(self, recipe: Recipe, system: System, shards: ShardSet, validation: ShardSet | None, out: Path, device: torch.device) -> None:
        ranks = distributed.world_size()
        if recipe.stream.batch_size % ranks:
            raise ValueError(f"--stream.batch_size {recipe.stream.batch_size} is not a multiple of the {ranks} ranks; it counts those of all ranks")
        self.recipe, self.out, self.device = recipe, Path(out), device
        self.shards, self.validation = shards, validation
        self.precision = resolve_precision(recipe.trainer.precision, device)
        self.system = system.to(device)
        self.optimiser = optimiser_of(system.parts(), recipe.optim)
        self.scaler = loss_scaler(self.precision)
        self.average = WeightAverage(self.system, recipe.trainer.ema_decay) if recipe.trainer.ema_decay else None
        self.order = order_of(shards, recipe.stream, recipe.trainer.seed)
        self.checkpoints = CheckpointFolder(out)
        self.state = State()
        self.stop_wanted = False

    def restore(self, folder: Path) -> None:
        """Go on from the checkpoint `folder`: weights, optimiser, scaler, position, and each rank's random state."""
        load_weights(self.system, folder)
        training = torch.load(folder / "training.pt", map_location="cpu", weights_only=True)
        self.optimiser.load_state_dict(training["optimiser"])
        self.scaler.load_state_dict(training["scaler"])
        if self.average is not None:
            self.average.load_state_dict(load_average(folder))
        self.state = State(**training["state"])
        states = training["random"]
        if distributed.rank() < len(states):
            torch.set_rng_state(states[distributed.rank()]["cpu"])
            if self.device.type == "cuda" and "cuda" in states[distributed.rank()]:
                torch.cuda.set_rng_state(states[distributed.rank()]["cuda"], self.device)

    def fit(self) -> State:
        """Train to the end and return where the run stands; writes log.jsonl, TensorBoard events, checkpoints and validation results.

        Raises:
            ValueError: a loss that is not finite (the weights before that step are checkpointed), or an unreadable sample.
            SystemExit: with EXIT_PREEMPTED after SIGTERM or SIGUSR1, once a checkpoint is written.
        """
        settings, state = self.recipe.trainer, self.state
        batches_in, total = self._length()
        step = self._step()
        if state.step == 0:
            seed_everything(settings.seed, distributed.rank())
        with (
            run_log(self.out, state, settings.log_every) as log,
            self._signals(),
            progress(total=total, initial=state.step, what="train", unit="step") as bar,
        ):
            batches = training_batches(
                self.shards,
                self.order,
                self.system.preparation(training=True),
                seed=settings.seed,
                part=Slice(distributed.rank(), distributed.world_size()),
                epochs=range(state.epoch, len(batches_in)),
                start=state.batch,
                workers=self.recipe.stream.workers,
                prefetch=self.recipe.stream.prefetch,
                pin=self.device.type == "cuda",
            )
            while state.step < total and not self._out_of_patience():
                in_epoch = batches_in[state.epoch]
                forwards = min(settings.accumulate, in_epoch - state.batch)
                set_learning_rate(self.optimiser, scale_at(state.step, total, state.epoch + state.batch / in_epoch, self.recipe.optim))
                self.system.before_step(state.step / total)
                values = step(list(itertools.islice(batches, forwards)))
                if self.average is not None:
                    self.average.update()
                state.step += 1
                state.batch += forwards
                if state.batch == in_epoch:
                    state.epoch, state.batch = state.epoch + 1, 0
                log.add(values, forwards * self.recipe.stream.batch_size, self.optimiser.param_groups[0]["lr"], bar)
                self._after(state.step == total, state.batch == 0, log)
        return state

    def _length(self) -> tuple[list[int], int]:
        """(number of batches of each epoch that is needed, number of steps of the whole run)."""
        settings = self.recipe.trainer
        most = settings.max_steps or math.inf
        batches_in: list[int] = []
        steps = 0
        while len(batches_in) < settings.epochs and steps < most:
            batches_in.append(self.order.batches_in(len(batches_in)))
            steps += -(-batches_in[-1] // settings.accumulate)
        return batches_in, int(min(steps, most))

    def _step(self) -> Step:
        settings = self.recipe.trainer
        if settings.compile:
            self.system.compile_towers(settings.compile)
        return Step(
            self.system,
            self.system if settings.piece_size else self._wrapped(),
            self.optimiser,
            self.scaler,
            precision=self.precision,
            device=self.device,
            piece_size=settings.piece_size,
            clip_norm=self.recipe.optim.clip_norm,
            seen=self._agree,
        )

    def _agree(self, terms: dict[str, torch.Tensor]) -> dict[str, float]:
        """The terms' means over all ranks. All ranks learn here, together, of a loss that is not finite and of a wish to stop."""
        vector = torch.stack([term.detach().float() for term in terms.values()] + [torch.tensor(float(self.stop_wanted), device=self.device)])
        *means, stop = (distributed.sum_over_ranks(vector) / distributed.world_size()).tolist()
        self.stop_wanted = stop > 0
        values = dict(zip(terms, means))
        if not all(math.isfinite(value) for value in means):
            self.optimiser.zero_grad(set_to_none=True)
            kept = self._checkpoint()
            shown = {name: round(value, 4) for name, value in values.items()}
            raise ValueError(
                f"loss is not finite at step {self.state.step}: {shown}; the weights before it are in {kept}; "
                "try a lower --optim.lr, or --trainer.precision fp32"
            )
        return values

    def _after(self, finished: bool, epoch_ended: bool, log: RunLog) -> None:
        """What follows a step: validation, checkpoint, and the end of a run that was asked to stop."""
        settings, state, step = self.recipe.trainer, self.state, self.state.step
        is_best = False
        if self.validation is not None and (finished or (step % settings.validate_every == 0 if settings.validate_every else epoch_ended)):
            is_best = self._validate(log)
            if not finished and self._out_of_patience():
                say(f"stopped early after step {step}: the last {state.not_better} validations were no better than that of step {state.best_step}")
                finished = True
        if finished or is_best or self.stop_wanted or step % settings.checkpoint_every == 0:
            folder = self._checkpoint(is_best)
            if self.stop_wanted and not finished:
                say(f"stopped by a signal after step {step}; {folder} is whole, the same command goes on from it")
                raise SystemExit(EXIT_PREEMPTED)

    def _validate(self, log: RunLog) -> bool:
        metrics = self._validation("")
        if self.average is not None:
            with self.average.in_place():
                metrics |= self._validation("ema/")
        names = tuple(self.recipe.trainer.best_metric.split(","))
        for name in names:
            if name not in metrics:
                raise ValueError(f"--trainer.best_metric {name} is not among the validation metrics: {', '.join(sorted(metrics))}")
        self.state.history = metrics
        is_best = self.state.best is None or better(names, metrics, self.state.best)
        if is_best:
            self.state.best, self.state.best_step = {name: metrics[name] for name in names}, self.state.step
        self.state.not_better = 0 if is_best else self.state.not_better + 1
        named = [key for key in metrics if key.endswith("/recall@10")] or names
        shown = ", ".join(f"{key.replace('/', ' ')} {metrics[key]:.3f}" for key in named)
        say(f"step {self.state.step}: validation {shown}{' (best so far)' if is_best else ''}")
        log.record({f"validation/{key}": value for key, value in metrics.items()})
        return is_best

    def _out_of_patience(self) -> bool:
        return 0 < self.recipe.trainer.patience <= self.state.not_better

    def _validation(self, prefix: str) -> dict[str, float]:
        assert self.validation is not None
        weights = f"{prefix}step {self.state.step}"
        metrics = validate(self.system, self.validation, self.recipe, self.out / "validation", weights, self.device, self.precision)
        return {f"{prefix}{key}": value for key, value in metrics.items()}

    def _checkpoint(self, is_best: bool = False) -> Path:
        own = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            own["cuda"] = torch.cuda.get_rng_state(self.device)
        random: list[Any] = [own]
        if distributed.world_size() > 1:
            random = [None] * distributed.world_size()
            dist.all_gather_object(random, own)
        folder = self.checkpoints.folder / f"step-{self.state.step:08d}"
        if is_main():
            training = {"optimiser": self.optimiser.state_dict(), "scaler": self.scaler.state_dict(), "state": vars(self.state), "random": random}
            average = self.average.state_dict() if self.average is not None else None
            folder = self.checkpoints.write(self.system, self.recipe, self.state, training, self.recipe.trainer.keep, is_best, average)
        distributed.barrier()
        return folder

    def _wrapped(self) -> torch.nn.Module:
        if distributed.world_size() == 1:
            return self.system
        devices = [self.device.index] if self.device.type == "cuda" else None
        # Gradients of 1 x 1 convolutions in channels-last order: the strides are written otherwise, the memory is the same.
        warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides", UserWarning)
        # Its successor is not in every torch that we support.
        warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
        return DistributedDataParallel(self.system, device_ids=devices, broadcast_buffers=False, gradient_as_bucket_view=True)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        def wish(number: int, frame: Any) -> None:
            self.stop_wanted = True

        former = {number: signal.signal(number, wish) for number in (signal.SIGTERM, signal.SIGUSR1)}
        try:
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)
