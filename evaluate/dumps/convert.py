"""A dump of vectors from elsewhere: released text features (slow to read, so once), or a `.npy` with a list of ids.

Killed and started again, a conversion goes on from the shards that are complete; done again on the same file, it does nothing.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from evaluate.dumps.array import ArrayVectors
from evaluate.dumps.text import line_batches, parse, width_of
from evaluate.embeddings import DumpAttributes, finish_dump, is_complete, write_dump_shard
from evaluate.ids import decode_ids
from evaluate.vectors import UNKNOWN_CHECKPOINT
from launch.logs import progress, say

SHARD_ROWS = 1 << 14

Batch = tuple[int, Callable[[], tuple[list[str], np.ndarray]]]
"""A shard to be: how many rows, and what reads its ids and rows; of a shard that is complete nothing is parsed."""


def convert(
    source: str | Path,
    out: str | Path,
    domain: str,
    ids: str | Path | None = None,
    labels: str | Path | None = None,
    dtype: str = "float32",
    checkpoint: str = UNKNOWN_CHECKPOINT,
    quiet: bool = False,
) -> Path:
    """Write the dump `out` of the vectors in `source` and return its folder; nothing is done where it is that already.

    Args:
        source: a `.npy` [N, D], or a text file of `id TAB comma-separated floats`.
        out: folder of the dump.
        domain: of all its items: goods, video, ...
        ids: id list of a `.npy` (default: the one beside it).
        labels: JSON lines with `id` and `labels` (a catalogue is such a file); held in memory whole.
        dtype: float32 keeps the numbers as they are; float16 halves the file.
        checkpoint: names what made the vectors, so that two makings are not searched together.
        quiet: no message and no progress bar.

    Raises ValueError naming file and line of what cannot be read.
    """
    source, out = Path(source), Path(out)
    batches, dim = _batches(source, ids)
    made_from = " ".join(_stamp(Path(file)) for file in (source, ids, labels) if file is not None)

    def attributes(number: int) -> DumpAttributes:
        return DumpAttributes(domain, "both", dim, False, "", checkpoint, f"{made_from} shard {number}", dtype)

    # A manifest is written last and taken away by any shard that is written, so that the first shard speaks for all.
    if (out / "manifest.json").is_file() and is_complete(out / f"{domain}-000000.h5", attributes(0)):
        return out
    names: list[str] = []
    known = None if labels is None else read_labels(labels, domain)
    with progress(what=f"convert {source.name}", unit="row", quiet=quiet) as bar:
        for number, (size, read) in enumerate(batches):
            names.append(f"{domain}-{number:06d}")
            path = out / f"{names[-1]}.h5"
            if not is_complete(path, attributes(number)):
                own, rows = read()
                write_dump_shard(path, rows, own, attributes(number), labels=None if known is None else [known.get(item, {}) for item in own])
            bar.update(size)
    rows_written = finish_dump(out, names, f"converted from {source.name}")["rows"]
    if not quiet:
        say(f"{source}: {rows_written} rows of width {dim} -> {out}")
    return out


def read_labels(path: str | Path, domain: str) -> Mapping[str, Mapping[str, Any]]:
    """Item id -> labels, from JSON lines with `id` and `labels`; lines of another `domain` are passed over.

    Raises ValueError naming file and line for one of another form.
    """
    labels: dict[str, Mapping[str, Any]] = {}
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                record = json.loads(line) if line.strip() else {"id": "", "domain": ""}
            except json.JSONDecodeError as error:
                raise ValueError(f"{path}: line {number} is not JSON ({error})") from error
            own = record.get("labels", {}) if isinstance(record, dict) else None
            if not isinstance(own, dict) or not isinstance(record.get("id"), str | int):
                raise ValueError(f'{path}: line {number} is not {{"id": ..., "labels": {{...}}}}: {line[:60]!r}')
            if record.get("domain", domain) == domain:
                labels[str(record["id"])] = own
    return labels


def _batches(source: Path, ids: str | Path | None) -> tuple[Iterator[Batch], int]:
    """(the shards to be, width D)."""
    if source.suffix == ".npy":
        array = ArrayVectors(source, ids)
        return _of_array(array), array.dim
    dim = width_of(source)
    return ((len(lines), functools.partial(parse, source, lines, dim)) for lines in line_batches(source, SHARD_ROWS)), dim


def _of_array(array: ArrayVectors) -> Iterator[Batch]:
    for own, (_, rows) in zip(array.id_blocks(SHARD_ROWS), array.blocks(SHARD_ROWS)):
        yield len(rows), functools.partial(_pair, own, rows)


def _pair(ids: np.ndarray, rows: np.ndarray) -> tuple[list[str], np.ndarray]:
    return decode_ids(ids), rows


def _stamp(path: Path) -> str:
    """What tells a file from a later one of its name, without reading it."""
    status = path.stat()
    return f"{path.name} {status.st_size} {status.st_mtime_ns}"
