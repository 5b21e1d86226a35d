"""Checkpoints: one folder a step, renamed into place when whole; `latest` and `best` beside them name one each.

    RUN/checkpoints/step-00000200/  weights.pt  training.pt  state.json  recipe.json  system.json  tokenizer/
    RUN/checkpoints/latest          text: step-00000200

A checkpoint needs nothing but itself to be evaluated: `system.json` rebuilds the architecture, `tokenizer/` the text encoder's words.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from launch.files import checksum, read_json, whole_file, whole_folder, write_json
from pipeline.recipe import Recipe, from_dict, module_of
from pipeline.system import System

FORMAT_VERSION = 1


@dataclass
class State:
    """Where a run stands: `step` optimiser steps done; next comes batch `batch` of `epoch`."""

    step: int = 0
    epoch: int = 0
    batch: int = 0
    best: float | None = None
    best_step: int | None = None
    history: dict[str, float] = field(default_factory=dict)
    """metrics of the last validation"""


class CheckpointFolder:
    """The checkpoints of one run. Written by rank 0; read by all."""

    def __init__(self, run: str | Path) -> None:
        self.folder = Path(run) / "checkpoints"

    def latest(self) -> Path | None:
        """The newest whole checkpoint, or None."""
        return self._named("latest")

    def best(self) -> Path | None:
        """The checkpoint with the best validation metric, or None where there was no validation."""
        return self._named("best")

    def _named(self, name: str) -> Path | None:
        pointer = self.folder / name
        if not pointer.is_file():
            return None
        target = self.folder / pointer.read_text(encoding="utf-8").strip()
        if not (target / "state.json").is_file():
            raise ValueError(f"{pointer} names {target.name}, which is not a whole checkpoint; remove {pointer} or restore the folder")
        return target

    def write(self, system: System, recipe: Recipe, state: State, training: dict[str, Any], keep: int, is_best: bool) -> Path:
        """Write a checkpoint and return its folder; the newest `keep` stay, and the best one.

        Raises:
            OSError: the disk is full or not writable; what was there before stays as it was.
        """
        target = self.folder / f"step-{state.step:08d}"
        with whole_folder(target) as folder:
            torch.save(system.state_dict(), folder / "weights.pt")
            torch.save(training, folder / "training.pt")
            write_json(folder / "recipe.json", recipe.to_dict())
            write_json(folder / "system.json", system.describe())
            system.save_files(folder)
            write_json(folder / "state.json", {"format_version": FORMAT_VERSION, **asdict(state), "weights": checksum(folder / "weights.pt")})
        for name, wanted in (("latest", True), ("best", is_best)):
            if wanted:
                with whole_file(self.folder / name) as file:
                    file.write(target.name + "\n")
        kept = {path for path in (self.latest(), self.best()) if path}
        for old in sorted(self.folder.glob("step-*"))[:-keep]:
            if old not in kept:
                shutil.rmtree(old)
        return target


def find_checkpoint(path: str | Path) -> Path:
    """The checkpoint folder that `path` means: itself, or the best (else the latest) one of a run.

    Raises:
        ValueError: there is none, with what was looked for.
    """
    path = Path(path)
    if not path.exists():
        raise ValueError(f"--checkpoint {path}: no such folder; give a run folder (train.sh --out) or one of its checkpoints/step-*")
    if (path / "state.json").is_file():
        return path
    found = CheckpointFolder(path).best() or CheckpointFolder(path).latest()
    if found is None:
        raise ValueError(
            f"--checkpoint {path}: neither a checkpoint (state.json) nor a run with checkpoints/latest; has the training written one yet?"
        )
    return found


@dataclass(frozen=True)
class Loaded:
    """A checkpoint in memory: `system` with its weights, in eval mode, on the CPU."""

    folder: Path
    system: System
    recipe: Recipe
    state: State
    checksum: str


def load_checkpoint(path: str | Path) -> Loaded:
    """The system of the checkpoint that `path` means, rebuilt without any other folder.

    Raises:
        ValueError: not a checkpoint, of another format version, or weights that do not fit or are not those that were written.
    """
    folder = find_checkpoint(path)
    saved = read_json(folder / "state.json")
    if saved.pop("format_version") != FORMAT_VERSION:
        raise ValueError(f"{folder}: checkpoint format is not {FORMAT_VERSION}; use the version of reelgoods that wrote it")
    weights = saved.pop("weights")
    if checksum(folder / "weights.pt") != weights:
        raise ValueError(f"{folder}/weights.pt is not the file that was written (checksum differs); restore it or use another checkpoint")
    recipe = from_dict(read_json(folder / "recipe.json"))
    system: System = module_of(recipe.name).rebuild(recipe, read_json(folder / "system.json"), folder)
    load_weights(system, folder)
    return Loaded(folder, system.eval(), recipe, State(**saved), weights)


def load_weights(system: System, folder: Path) -> None:
    """Put the checkpoint's weights into `system`. Raises ValueError listing keys that are missing, unknown or misshapen; nothing is loaded half."""
    weights = torch.load(folder / "weights.pt", map_location="cpu", weights_only=True)
    own = system.state_dict()
    missing, unknown = sorted(own.keys() - weights.keys()), sorted(weights.keys() - own.keys())
    misshapen = [
        f"{key} {list(weights[key].shape)} for {list(own[key].shape)}" for key in own.keys() & weights.keys() if weights[key].shape != own[key].shape
    ]
    if missing or unknown or misshapen:
        raise ValueError(
            f"{folder}: weights do not fit this system: missing {missing or 'none'}; unknown {unknown or 'none'}; "
            f"misshapen {sorted(misshapen) or 'none'}"
        )
    system.load_state_dict(weights)
