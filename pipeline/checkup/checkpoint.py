"""Whether a checkpoint can be evaluated, and whether a run can go on from it: it is loaded as those who need it load it."""

from __future__ import annotations

from pathlib import Path

import torch

from launch.files import read_json
from pipeline.checkpoint import CheckpointFolder, find_checkpoint, load_checkpoint
from pipeline.checkup.sheet import Sheet

OTHER = "restore it, or use another checkpoint"


def check_checkpoint(path: str | Path) -> Sheet:
    """A sheet for the checkpoint `path`, or for the latest and the best one of the run `path`."""
    path = Path(path)
    sheet = Sheet(f"checkpoint {path}")
    folders: list[Path] = []
    with sheet.noting(path, OTHER):
        if (path / "checkpoints").is_dir():
            run = CheckpointFolder(path)
            for named in (run.latest, run.best):
                with sheet.noting(path, OTHER):
                    found = named()
                    if found is not None and found not in folders:
                        folders.append(found)
        if not folders and not sheet.problems:
            folders.append(find_checkpoint(path))
    for folder in folders:
        _check_one(sheet, folder)
    return sheet


def _check_one(sheet: Sheet, folder: Path) -> None:
    with sheet.noting(folder, OTHER):
        state = read_json(folder / "state.json")
        loaded = load_checkpoint(folder, "ema" if "ema" in state.get("checksums", {}) else "live")
        parameters = sum(parameter.numel() for parameter in loaded.system.parameters())
        sheet.row(folder.name, f"{loaded.recipe.name}, step {loaded.state.step}, {parameters / 1e6:.1f} M parameters: loads")
    training = folder / "training.pt"
    if not training.is_file():
        sheet.row("", "weights alone, as imported ones are: a run starts from it with --init, and does not go on from it")
        return
    with sheet.noting(training, "a run cannot go on from it: remove this checkpoint, and it goes on from the newest whole one before it"):
        torch.load(training, map_location="cpu", weights_only=True)
