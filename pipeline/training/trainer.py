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
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from launch import distributed
from launch.logs import is_main, progress, say
from launch.seeds import generator, seed_everything
from pipeline.bad_items import USUAL, BadItems
from pipeline.checkpoint import Background, CheckpointFolder, State, contents_of, load_average, load_weights
from pipeline.order import order_of
from pipeline.precision import loss_scaler, resolve_precision
from pipeline.recipe import Recipe
from pipeline.shards import ShardSet
from pipeline.stream import Slice, training_batches
from pipeline.system import System
from pipeline.training.ema import WeightAverage
from pipeline.training.optim import optimiser_of, scale_at, set_learning_rate
from pipeline.training.run_log import run_log
from pipeline.training.step import Step
from pipeline.training.unread_items import UnreadItems
from pipeline.training.validation import better, validate

EXIT_PREEMPTED = 75
"""Exit code after SIGTERM or SIGUSR1 with a checkpoint written (EX_TEMPFAIL: start the same command again to go on)."""


class Trainer:
    """One run: `system` trained on `shards` by `recipe`, everything it writes below `out`.

    Args:
        system: built with the same seed on every rank.
        validation: shard set with ground truth, searched while training; None: no validation, no best checkpoint.
        bad_items: what is done about items that cannot be read. One that is left out keeps its place in the batch and counts for nothing
            (`System.losses`): so ranks stay in step, a run that goes on is the same run, and nothing takes its place.

    Raises:
        ValueError: the batch does not divide among the ranks, or a setting does not fit this machine.
    """

    def __init__(
        self,
        recipe: Recipe,
        system: System,
        shards: ShardSet,
        validation: ShardSet | None,
        out: Path,
        device: torch.device,
        bad_items: BadItems = USUAL,
    ) -> None:
        ranks = distributed.world_size()
        if recipe.stream.batch_size % ranks:
            size = recipe.stream.batch_size
            fit = ", ".join(str(number) for number in range(1, size + 1) if size % number == 0)
            raise ValueError(f"--stream.batch_size {size} is not a multiple of the {ranks} ranks; it counts those of all ranks: {fit} can share it")
        self.recipe, self.out, self.device = recipe, Path(out), device
        self.shards, self.validation, self.bad_items = shards, validation, bad_items
        self.precision = resolve_precision(recipe.trainer.precision, device)
        self.system = system.to(device)
        self.optimiser = optimiser_of(system.parts(), recipe.optim)
        self.scaler = loss_scaler(self.precision)
        self.average = WeightAverage(self.system, recipe.trainer.ema_decay) if recipe.trainer.ema_decay else None
        self.order = order_of(shards, recipe.stream, recipe.trainer.seed)
        self.checkpoints = CheckpointFolder(out)
        self.state = State()
        self.stop_wanted = False
        self._writing = Background(self.checkpoints, recipe.trainer.keep)
        self._begun: int | None = None
        """step of the last checkpoint that was begun and is not known to have failed"""
        self._best_before: tuple[dict[str, float] | None, int | None] = None, None
        self._unlogged: dict[str, Any] | None = None

    def restore(self, folder: Path) -> None:
        """Go on from the checkpoint `folder`: weights, optimiser, scaler, position, the log's open line, and each rank's random state.

        A rank that was not there then begins with random numbers of its own, drawn from (seed, step, rank).

        Raises:
            ValueError: the checkpoint holds weights alone, or those of another system.
        """
        if not (folder / "training.pt").is_file():
            raise ValueError(f"{folder} holds weights alone, which a new run starts from: give another --out, and this folder as --init")
        load_weights(self.system, folder)
        training = torch.load(folder / "training.pt", map_location="cpu", weights_only=True)
        self.optimiser.load_state_dict(training["optimiser"])
        self.scaler.load_state_dict(training["scaler"])
        if self.average is not None:
            self.average.load_state_dict(load_average(folder))
        self.state = State(**training["state"])
        self._begun, self._unlogged = self.state.step, training.get("log")
        states = training["random"]
        if distributed.rank() >= len(states):
            seed_everything(int(generator(self.recipe.trainer.seed, "new ranks", self.state.step).integers(2**31)), distributed.rank())
        else:
            torch.set_rng_state(states[distributed.rank()]["cpu"])
            if self.device.type == "cuda" and "cuda" in states[distributed.rank()]:
                torch.cuda.set_rng_state(states[distributed.rank()]["cuda"], self.device)

    def fit(self) -> State:
        """Train to the end and return where the run stands; writes log.jsonl, TensorBoard events, checkpoints and validation results.

        Raises:
            ValueError: a loss that is not finite (the weights before that step are checkpointed), or more items that cannot be read than may be.
            SystemExit: with EXIT_PREEMPTED after SIGTERM or SIGUSR1, once a checkpoint is written.
        """
        settings, state = self.recipe.trainer, self.state
        batches_in, total = self._length()
        step = self._step()
        if state.step == 0:
            seed_everything(settings.seed, distributed.rank())
        self._unread, self._newly_unread = UnreadItems(self.bad_items, self.out, self.shards, state.step), 0
        with (
            run_log(self.out, state, settings.log_every) as self._log,
            self._writing,
            self._signals(),
            progress(total=total, initial=state.step, what="train", unit="step") as bar,
        ):
            if self._unlogged is not None:
                self._log.load_state_dict(self._unlogged)
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
                unread=self._unread.add,
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
                self._log.add(values, forwards * self.recipe.stream.batch_size, self.optimiser.param_groups[0]["lr"], bar)
                if self._newly_unread:
                    self._log.record({"bad_items": len(self._unread)})
                    self._newly_unread = 0
                self._writing.look()
                self._after(state.step == total, state.batch == 0)
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
        """The terms' means over all ranks. All ranks learn here, together, of a loss that is not finite, of a wish to stop and of items that could
        not be read."""
        asides = torch.tensor([float(self.stop_wanted), float(self._unread.pending)], device=self.device)
        vector = torch.cat([torch.stack([term.detach().float() for term in terms.values()]), asides])
        *means, stop, unread = (distributed.sum_over_ranks(vector) / distributed.world_size()).tolist()
        self.stop_wanted = stop > 0
        if unread:
            self._newly_unread += self._unread.share(self.state.step + 1)
        values = dict(zip(terms, means))
        if not all(math.isfinite(value) for value in means):
            self.optimiser.zero_grad(set_to_none=True)
            if self._begun != self.state.step:
                self._checkpoint()
            kept = self._settled() or f"the weights before it are in {self.checkpoints.folder / f'step-{self.state.step:08d}'}"
            shown = {name: round(value, 4) for name, value in values.items()}
            raise ValueError(f"loss is not finite at step {self.state.step}: {shown}; {kept}; try a lower --optim.lr, or --trainer.precision fp32")
        return values

    def _after(self, finished: bool, epoch_ended: bool) -> None:
        """What follows a step: validation, checkpoint, and the end of a run that was asked to stop."""
        settings, state, step = self.recipe.trainer, self.state, self.state.step
        is_best = False
        if self.validation is not None and (finished or (step % settings.validate_every == 0 if settings.validate_every else epoch_ended)):
            self._settled()
            is_best = self._validate()
            if not finished and self._out_of_patience():
                say(f"stopped early after step {step}: the last {state.not_better} validations were no better than that of step {state.best_step}")
                finished = True
        if finished or is_best or self.stop_wanted or step % settings.checkpoint_every == 0:
            self._checkpoint(is_best)
        if (finished or self.stop_wanted) and (failure := self._settled()):
            raise ValueError(f"{failure}; make room there and start the same command again: it goes on from what there is")
        if self.stop_wanted and not finished:
            say(f"stopped by a signal after step {step}; {self.checkpoints.latest()} is whole, the same command goes on from it")
            raise SystemExit(EXIT_PREEMPTED)

    def _validate(self) -> bool:
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
        self._best_before = self.state.best, self.state.best_step
        if is_best:
            self.state.best, self.state.best_step = {name: metrics[name] for name in names}, self.state.step
        self.state.not_better = 0 if is_best else self.state.not_better + 1
        named = [key for key in metrics if key.endswith("/recall@10")] or names
        shown = ", ".join(f"{key.replace('/', ' ')} {metrics[key]:.3f}" for key in named)
        say(f"step {self.state.step}: validation {shown}{' (best so far)' if is_best else ''}")
        self._log.record({f"validation/{key}": value for key, value in metrics.items()})
        return is_best

    def _out_of_patience(self) -> bool:
        return 0 < self.recipe.trainer.patience <= self.state.not_better

    def _validation(self, prefix: str) -> dict[str, float]:
        assert self.validation is not None
        weights = f"{prefix}step {self.state.step}"
        metrics = validate(
            self.system,
            self.validation,
            self.recipe,
            self.out / "validation",
            weights,
            self.device,
            self.precision,
            replace(self.bad_items, verify=False),
        )
        return {f"{prefix}{key}": value for key, value in metrics.items()}

    def _checkpoint(self, is_best: bool = False) -> None:
        """Begin to write a checkpoint of this step; `_settled` returns when it is on disk."""
        self._settled()
        own = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            own["cuda"] = torch.cuda.get_rng_state(self.device)
        random: list[Any] = [own]
        if distributed.world_size() > 1:
            random = [None] * distributed.world_size()
            dist.all_gather_object(random, own)
        self._begun = self.state.step
        if is_main():
            training = {
                "optimiser": self.optimiser.state_dict(),
                "scaler": self.scaler.state_dict(),
                "state": vars(self.state),
                "random": random,
                "log": self._log.state_dict(),
            }
            average = self.average.state_dict() if self.average is not None else None
            self._writing.begin(contents_of(self.system, self.recipe, self.state, training, average, is_best))

    def _settled(self) -> str | None:
        """Wait for the checkpoint that is being written; why it was not, where it failed: then the best one is the one before."""
        failure = self._writing.settle()
        if failure is not None:
            if self.state.best_step == self._begun:
                self.state.best, self.state.best_step = self._best_before
            self._begun = None
        return failure

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
