"""The checkpoints of one run on disk: written whole or not at all, the newest whole one found, old ones removed."""

from __future__ import annotations

import errno
import os
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from launch.files import checksum, read_json, whole_file, whole_folder, write_json
from launch.logs import say
from pipeline.checkpoint.contents import Contents, contents_of
from pipeline.checkpoint.state import FORMAT_VERSION, State
from pipeline.recipe import Recipe
from pipeline.system import System

STEPS = "step-*"


class NotWritten(OSError):
    """A checkpoint that the disk did not take; what was there before stays as it was."""


class CheckpointFolder:
    """The checkpoints of one run. Written by rank 0; read by all."""

    def __init__(self, run: str | Path) -> None:
        self.folder = Path(run) / "checkpoints"

    def latest(self) -> Path | None:
        """The checkpoint that `latest` names, or None where there is no such file. Raises ValueError where it names none that is whole."""
        return self._named("latest")

    def best(self) -> Path | None:
        """The checkpoint with the best validation metric, or None where there was no validation. Raises ValueError as `latest` does."""
        return self._named("best")

    def _pointed(self, name: str) -> Path | None:
        pointer = self.folder / name
        return self.folder / pointer.read_text(encoding="utf-8").strip() if pointer.is_file() else None

    def _point(self, name: str, target: Path) -> None:
        with whole_file(self.folder / name) as file:
            file.write(target.name + "\n")

    def _named(self, name: str) -> Path | None:
        target = self._pointed(name)
        if target is not None and not (target / "state.json").is_file():
            pointer = self.folder / name
            raise ValueError(f"{pointer} names {target.name}, which is not a whole checkpoint; remove {pointer} or restore the folder")
        return target

    def newest_whole(self) -> Path | None:
        """The newest checkpoint whose files are those that were written, or None where there is none at all.

        Looks through the folders and not at `latest`, since a crash may come between a folder and its name in there; says which ones it
        passes over and why.

        Raises:
            ValueError: there are checkpoints, and none of them is whole.
        """
        steps = sorted(self.folder.glob(STEPS), reverse=True)
        for step in steps:
            wrong = what_is_wrong(step)
            if wrong is None:
                return step
            say(f"{wrong}; looking at the checkpoint before it")
        if steps:
            raise ValueError(f"{self.folder}: none of {len(steps)} checkpoints is whole; restore one, or remove the folder to begin anew")
        return None

    def reopen(self) -> Path | None:
        """The newest whole checkpoint, to go on from: `latest` names it, and what killed processes had begun to write or to remove is gone.

        Called by one process, before anyone writes. Raises ValueError as `newest_whole` does.
        """
        found = self.newest_whole()
        if found is not None and self._pointed("latest") != found:
            say(f"{self.folder / 'latest'} does not name the newest whole checkpoint; it names {found.name} now")
            self._point("latest", found)
        for leftover in [*self.folder.glob(".*.tmp"), *self.folder.glob(".*.former")]:
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        return found

    def write(
        self,
        system: System,
        recipe: Recipe,
        state: State,
        training: dict[str, Any] | None,
        keep: int,
        is_best: bool,
        average: dict[str, Tensor] | None = None,
    ) -> Path:
        """Write a checkpoint of `system` as it is now and return its folder; arguments as those of `contents_of`, errors as those of `put`."""
        return self.put(contents_of(system, recipe, state, training, average, is_best), keep)

    def put(self, contents: Contents, keep: int) -> Path:
        """Write a checkpoint and return its folder; the newest `keep` stay, and the best one.

        Raises:
            NotWritten: the disk is full or not writable; says how many bytes were needed and how many are free.
        """
        target = self.folder / contents.name
        self.folder.mkdir(parents=True, exist_ok=True)
        needed = contents.bytes_needed()
        try:
            if self._free() < needed:  # before the disk is full for everybody else, too
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            with whole_folder(target) as folder:
                _write_files(folder, contents)
            self._point("latest", target)
            if contents.is_best:
                self._point("best", target)
        except (OSError, RuntimeError) as error:
            disk = _of_the_disk(error)
            if disk is None:
                raise
            stays = self._pointed("latest")
            before = f"{stays.name} is whole and stays" if stays else "there was none before"
            why = disk.strerror or disk
            raise NotWritten(f"{target} was not written ({why}; it takes {needed:,} bytes, {self._free():,} are free there); {before}") from error
        self._remove_old(keep)
        return target

    def _remove_old(self, keep: int) -> None:
        named = {self._pointed("latest"), self._pointed("best")}
        for old in sorted(self.folder.glob(STEPS))[:-keep]:
            if old not in named:
                # In one go, so that nobody finds half of it.
                hidden = old.with_name(f".{old.name}.{os.getpid()}.former")
                old.rename(hidden)
                shutil.rmtree(hidden)

    def _free(self) -> int:
        return shutil.disk_usage(self.folder).free


def _write_files(folder: Path, contents: Contents) -> None:
    checksums = {}
    for name, tensors in contents.tensors.items():
        path = folder / f"{name}.pt"
        with open(path, "wb") as file:  # given a path, torch.save says nothing of a full disk
            torch.save(tensors, file)
        checksums[name] = checksum(path)
    write_json(folder / "recipe.json", contents.recipe.to_dict())
    write_json(folder / "system.json", contents.architecture)
    contents.system.save_files(folder)
    write_json(folder / "state.json", {"format_version": FORMAT_VERSION, **asdict(contents.state), "checksums": checksums})


def _of_the_disk(error: BaseException | None) -> OSError | None:
    """The disk's error in `error` or behind it: as torch.save leaves a file that could not be written, it raises another one."""
    while error is not None and not isinstance(error, OSError):
        error = error.__context__
    return error


def what_is_wrong(step: Path) -> str | None:
    """Why a run cannot go on from the checkpoint folder `step`, naming the file; None where all of its files are those that were written."""
    try:
        saved: dict[str, Any] = read_json(step / "state.json")
        for name in ("recipe.json", "system.json"):
            read_json(step / name)
        for name, digest in saved["checksums"].items():
            if checksum(step / f"{name}.pt") != digest:
                return f"{step}/{name}.pt is not the file that was written (checksum differs)"
    except FileNotFoundError as error:
        return f"{error.filename}: missing, the checkpoint is not whole"
    except ValueError as error:
        return str(error)
    return None
