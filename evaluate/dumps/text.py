"""The released text form of features, read line by line: `id TAB comma-separated floats`."""

from __future__ import annotations

import warnings
from codecs import BOM_UTF8
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from evaluate.ids import encode_ids

Lines = Sequence[tuple[int, bytes]]
"""Lines of a file with their numbers, from 1."""


def line_batches(path: Path, lines_per_batch: int) -> Iterator[Lines]:
    """The lines of `path` that are not blank, with their numbers, in batches; nothing is parsed."""
    if not path.is_file():
        raise ValueError(f"{path}: no such file; give a dump's folder, a .npy, or a text file of `id TAB comma-separated floats`")
    with open(path, "rb") as file:
        if file.read(len(BOM_UTF8)) != BOM_UTF8:  # a mark of the encoding, no part of the first id
            file.seek(0)
        lines = ((number, line) for number, line in enumerate(file, 1) if line.strip())
        while batch := list(islice(lines, lines_per_batch)):
            yield batch


def ids_in(path: Path) -> Iterator[str]:
    """The ids in `path` alone, no number parsed; what is not UTF-8 is replaced, `parse` refuses it."""
    for lines in line_batches(path, 1024):
        for _, line in lines:
            yield line.partition(b"\t")[0].decode(errors="replace").strip()


def width_of(path: Path) -> int:
    """How many floats the first line of `path` has. Raises ValueError where it has no line, or the first is of another form."""
    first = next(line_batches(path, 1), None)
    if first is None:
        raise ValueError(f"{path}: no line in it; wanted `id TAB comma-separated floats`")
    return parse(path, first, None)[1].shape[1]


def parse(path: Path, lines: Lines, dim: int | None) -> tuple[list[str], np.ndarray]:
    """(ids, float32 [n, dim]) of the `lines`; `dim` None: as wide as the first.

    Raises ValueError naming file and line for one of another form or width, and for a number that is not finite.
    """
    ids, rows = [], []
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)  # how NumPy before 2.3 speaks of text that is no number
        for number, line in lines:
            name, tab, numbers = line.rstrip(b"\r\n").partition(b"\t")
            try:
                if not tab:
                    raise ValueError("no tab")
                row = np.fromstring(numbers, np.float32, sep=",")
                ids.append(str(encode_ids([name.decode().strip()])[0], "utf-8"))
            except (ValueError, DeprecationWarning):
                raise ValueError(f"{path}: line {number} is not `id TAB comma-separated floats`: {line[:60]!r}") from None
            if dim is None:
                dim = len(row)
            if len(row) != dim or not dim:
                raise ValueError(f"{path}: line {number} ({ids[-1]!r}) has {len(row)} numbers, the first line {dim}")
            if not np.isfinite(row).all():
                raise ValueError(f"{path}: line {number} ({ids[-1]!r}) has a number that is not finite in float32; leave the item out")
            rows.append(row)
    return ids, np.stack(rows)
