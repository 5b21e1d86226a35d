"""What a run needs of a machine beside its cards: room on the disk and in shared memory, and a format to compute in."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

import torch

from pipeline.checkup.sheet import Sheet
from pipeline.precision import cpu_has_bf16, resolve_precision

LEAST_DISK = 5 << 30
"""Bytes: two checkpoints of two base-size towers with their optimiser, one kept and one being written."""
LEAST_SHARED = 1 << 30
"""Bytes: batches of a few loading processes on their way to a rank. Containers often give 64 MB."""
SHARED = Path("/dev/shm")


def machine(path: str | Path, shared: Path = SHARED) -> Sheet:
    """Processor, precision that "auto" means here, free disk where `path` is or will be, shared memory at `shared`."""
    sheet = Sheet("machine")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    sheet.row("processor", f"{platform.machine()}, {cores} cores for this process, {'bf16 in hardware' if cpu_has_bf16() else 'no bf16 in hardware'}")
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            memory = torch.cuda.get_device_properties(number).total_memory
            chosen = resolve_precision("auto", torch.device("cuda", number))
            sheet.row(f"card {number}", f"{torch.cuda.get_device_name(number)}, {_size(memory)}, trains in {chosen} (--trainer.precision auto)")
    else:
        sheet.row("precision", f"trains in {resolve_precision('auto', torch.device('cpu'))} (--trainer.precision auto), on the processor")
    _disk(sheet, Path(path))
    _shared_memory(sheet, shared)
    return sheet


def _disk(sheet: Sheet, path: Path) -> None:
    there = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
    usage = shutil.disk_usage(there)
    sheet.row("disk", f"{_size(usage.free)} free of {_size(usage.total)} at {path}")
    if usage.free < LEAST_DISK:
        sheet.problem(
            f"{path}: {_size(usage.free)} free; two checkpoints of base-size towers take {_size(LEAST_DISK)}: make room, or name another --out"
        )
    if not os.access(there, os.W_OK | os.X_OK) or not there.is_dir():
        sheet.problem(f"{path}: {there} is not a folder that you may write to; name another --out")


def _shared_memory(sheet: Sheet, shared: Path) -> None:
    if not shared.is_dir():
        sheet.row("shared memory", f"no {shared} on this system; how much there is cannot be known")
        return
    usage = shutil.disk_usage(shared)
    sheet.row("shared memory", f"{_size(usage.free)} free of {_size(usage.total)} at {shared}")
    if usage.free < LEAST_SHARED:
        sheet.problem(
            f"{shared}: {_size(usage.free)} free, loading processes pass batches through it and end with a bus error when it is full; give a "
            f"container {_size(8 << 30)} (docker run --shm-size 8g), or load in the training process: --stream.workers 0"
        )


def _size(number: int) -> str:
    return f"{number / (1 << 30):.1f} GiB" if number >= 1 << 30 else f"{number / (1 << 20):.0f} MiB"
