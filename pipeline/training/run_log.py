"""What a run writes about itself: log.jsonl, TensorBoard events, the progress bar's numbers."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from launch.files import whole_file
from launch.logs import is_main
from pipeline.checkpoint import State

Record = Callable[[dict[str, float]], None]


class RunLog:
    """Means of the steps between two lines of the log, and single records such as validation results.

    Args:
        state: where the run stands; read at every record.
        record: writes one; ranks other than 0 write nothing.
        every: steps between two lines.
        flush: called before a checkpoint, so that what it goes on after is in the files.
    """

    def __init__(self, state: State, record: Record | None, every: int, flush: Callable[[], None] | None = None) -> None:
        self._state, self._record, self._every, self._flush = state, record, every, flush
        self._sums: dict[str, float] = {}
        self._steps = self._samples = 0
        self._since = time.perf_counter()

    def state_dict(self) -> dict[str, Any]:
        """The steps that no line tells of yet, for a checkpoint; what was written so far is on disk when this returns."""
        if self._flush:
            self._flush()
        return {"sums": dict(self._sums), "steps": self._steps}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Go on with the steps that no line told of."""
        self._sums, self._steps = dict(saved["sums"]), saved["steps"]

    def record(self, values: dict[str, float]) -> None:
        """Write `values` at the present step."""
        if self._record:
            self._record(values)

    def add(self, values: dict[str, float], samples: int, learning_rate: float, bar: Any) -> None:
        """Count a step, move the bar, and write a line where one is due."""
        self._steps += 1
        self._samples += samples
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        bar.update()
        if self._state.step % self._every == 0:
            means = {name: value / self._steps for name, value in self._sums.items()}
            rate = self._samples / (time.perf_counter() - self._since)
            bar.set_postfix({"loss": f"{means['loss']:.3f}", "samples/s": f"{rate:.0f}"}, refresh=False)
            self.record(means | {"learning_rate": learning_rate, "samples_per_s": rate})
            self._sums, self._steps, self._samples, self._since = {}, 0, 0, time.perf_counter()


@contextmanager
def run_log(out: Path, state: State, every: int) -> Iterator[RunLog]:
    """The log of the run in `out`, open. Lines of steps after `state.step`, which will be taken again, are removed first, and one cut short."""
    if not is_main():
        yield RunLog(state, None, every)
        return
    path = out / "log.jsonl"
    if path.exists():
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= state.step]
        with whole_file(path) as file:
            file.writelines(kept)
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        open(path, "a", encoding="utf-8", buffering=1) as file,
        SummaryWriter(str(out / "tensorboard"), purge_step=state.step + 1) as board,
    ):

        def record(values: dict[str, float]) -> None:
            file.write(json.dumps({"step": state.step, "epoch": state.epoch, **values}) + "\n")
            for name, value in values.items():
                board.add_scalar(name, value, state.step)

        def flush() -> None:
            os.fsync(file.fileno())
            board.flush()

        yield RunLog(state, record, every, flush)
