"""A checkpoint back into memory: to be evaluated, gone on with, or started from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from launch.files import checksum, read_json
from pipeline.checkpoint.folder import CheckpointFolder
from pipeline.checkpoint.state import FORMAT_VERSION, State
from pipeline.recipe import Recipe, from_dict, module_of
from pipeline.system import System


def find_checkpoint(path: str | Path, flag: str = "--checkpoint") -> Path:
    """The checkpoint folder that `path`, the value of `flag`, means: itself, or the best (else the latest) one of a run.

    Raises:
        ValueError: there is none, with what was looked for.
    """
    path = Path(path)
    if not path.exists():
        raise ValueError(f"{flag} {path}: no such folder; give a run folder (train.sh --out) or one of its checkpoints/step-*")
    if (path / "state.json").is_file():
        return path
    found = CheckpointFolder(path).best() or CheckpointFolder(path).latest()
    if found is None:
        raise ValueError(f"{flag} {path}: neither a checkpoint (state.json) nor a run with checkpoints/latest; has the training written one yet?")
    return found


@dataclass(frozen=True)
class Loaded:
    """A checkpoint in memory: `system` with its weights, in eval mode, on the CPU."""

    folder: Path
    system: System
    recipe: Recipe
    state: State
    checksum: str


def load_checkpoint(path: str | Path, which: str = "live") -> Loaded:
    """The system of the checkpoint that `path` means, rebuilt without any other folder.

    Args:
        which: "live" weights, or "ema", their slow average.

    Raises:
        ValueError: not a checkpoint, of another format version, without the wanted weights, or weights that do not fit or are not those that
            were written.
    """
    folder = find_checkpoint(path)
    saved = read_json(folder / "state.json")
    if saved.pop("format_version") != FORMAT_VERSION:
        raise ValueError(f"{folder}: checkpoint format is not {FORMAT_VERSION}; use the version of reelgoods that wrote it")
    checksums = saved.pop("checksums")
    if which == "ema" and "ema" not in checksums:
        raise ValueError(f"{folder} holds no slow average of the weights; train with --trainer.ema_decay 0.999, or use --weights live")
    for name in ("weights", "ema")[: 2 if which == "ema" else 1]:
        if checksum(folder / f"{name}.pt") != checksums[name]:
            raise ValueError(f"{folder}/{name}.pt is not the file that was written (checksum differs); restore it or use another checkpoint")
    recipe = from_dict(read_json(folder / "recipe.json"))
    system: System = module_of(recipe.name).rebuild(recipe, read_json(folder / "system.json"), folder)
    load_weights(system, folder)
    if which == "ema":
        system.load_state_dict(load_average(folder), strict=False)
    return Loaded(folder, system.eval(), recipe, State(**saved), checksums["ema" if which == "ema" else "weights"])


def load_average(folder: Path) -> dict[str, Tensor]:
    """The slow average of the trained weights in a checkpoint's folder. Raises ValueError where there is none."""
    if not (folder / "ema.pt").is_file():
        raise ValueError(f"{folder} holds no slow average of the weights; go on without --trainer.ema_decay, or start a new run")
    return torch.load(folder / "ema.pt", map_location="cpu", weights_only=True)


def load_weights(system: System, folder: Path) -> None:
    """Put the checkpoint's weights into `system`. Raises ValueError listing keys that are missing, unknown or misshapen; nothing is loaded half."""
    weights = torch.load(folder / "weights.pt", map_location="cpu", weights_only=True)
    _require_fit(folder, weights, system.state_dict())
    system.load_state_dict(weights)


def start_from(system: System, folder: Path) -> str:
    """Put the parts that `system` and the checkpoint share into `system`, each whole; returns a line that says what was taken and what is new.

    The checkpoint may be another recipe's: qcd starts from qcd_pretrain's towers, frame integration and fusion.

    Raises:
        ValueError: nothing is shared, or a shared part does not fit; nothing is loaded half.
    """
    weights = torch.load(folder / "weights.pt", map_location="cpu", weights_only=True)
    own = system.state_dict()
    names = {id(module): f"{name}." for name, module in system.named_modules()}
    prefixes = {part: names[id(module)] for part, module in system.parts().items()}
    taken = {part: prefix for part, prefix in prefixes.items() if any(key.startswith(prefix) for key in weights)}
    wanted = {key for key in own if key.startswith(tuple(taken.values()))}
    found = {key for key in weights if key.startswith(tuple(taken.values()))}
    if not taken:
        raise ValueError(f"{folder} shares no part with this system ({', '.join(prefixes)}); is it a checkpoint of another kind?")
    _require_fit(folder, {key: weights[key] for key in found}, {key: own[key] for key in wanted})
    system.load_state_dict({key: weights[key] for key in found}, strict=False)
    system.weights_replaced()
    new = [part for part, prefix in prefixes.items() if part not in taken and any(key.startswith(prefix) for key in own)]
    return f"from {folder}: {', '.join(taken)}" + (f"; new: {', '.join(new)}" if new else "")


def _require_fit(folder: Path, weights: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    missing, unknown = sorted(own.keys() - weights.keys()), sorted(weights.keys() - own.keys())
    misshapen = [
        f"{key} {list(weights[key].shape)} for {list(own[key].shape)}" for key in own.keys() & weights.keys() if weights[key].shape != own[key].shape
    ]
    if missing or unknown or misshapen:
        raise ValueError(
            f"{folder}: weights do not fit this system: missing {missing or 'none'}; unknown {unknown or 'none'}; "
            f"misshapen {sorted(misshapen) or 'none'}"
        )
