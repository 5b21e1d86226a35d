"""What `--queries` and `--docs` of a search may name: a dump's folder, a `.npy` with a list of ids, or released text features."""

from __future__ import annotations

from pathlib import Path

from evaluate.dump import Dump
from evaluate.dumps.array import ArrayVectors
from evaluate.dumps.convert import convert
from evaluate.vectors import Vectors


def open_source(path: str | Path, domain: str, ids: str | Path | None = None, converted: str | Path | None = None) -> Dump | Vectors:
    """The vectors that `path` names; of a file, all of it is taken for items of `domain`.

    Args:
        path: dump folder, `.npy`, or text file of `id TAB comma-separated floats`, which is converted to a dump once.
        domain: what a text file's items are called in its dump.
        ids: id list of a `.npy` (default: the one beside it).
        converted: folder for dumps of text files (default: beside the file); each is FILE.dump there.

    Raises ValueError where there is no such thing, or a dump is unfinished.
    """
    path = Path(path)
    if ids is not None and path.suffix != ".npy":
        raise ValueError(f"{ids}: a list of ids goes with a .npy; {path} has its own")
    if path.is_dir():
        return Dump(path)
    if path.suffix == ".npy":
        return ArrayVectors(path, ids)
    out = (path.parent if converted is None else Path(converted)) / f"{path.name}.dump"
    return Dump(convert(path, out, domain)).side()
