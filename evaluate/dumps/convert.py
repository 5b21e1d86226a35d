"""A dump of vectors from elsewhere: released text features (slow to read, so once), or a `.npy` with a list of ids.

Killed and started again, a conversion goes on from the shards that are complete; done again on the same file, it does nothing.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import numpy as np

from evaluate.dumps.array import ArrayVectors
from evaluate.dumps.given_labels import Labels, labelled_rows, read_labels, refuse_labels_of_others
from evaluate.dumps.manifest import MANIFEST, read_manifest
from evaluate.dumps.text import ids_in, line_batches, parse, width_of
from evaluate.embeddings import DumpAttributes, finish_dump, is_complete, read_attributes, write_dump_shard
from evaluate.ids import decode_ids
from evaluate.vectors import UNKNOWN_CHECKPOINT
from launch.files import PLAIN_NAME
from launch.logs import progress, say

SHARD_ROWS = 1 << 14
BESIDE_SHARDS = ("all.h5", "failed.jsonl", MANIFEST)

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

    Raises ValueError naming file and line of what cannot be read, for an `out` that holds anything else than a dump converted from a file of
    `source`'s name, for a domain that is no plain name, and for labels of none of the ids.
    """
    source, out = Path(source), Path(out)
    if not PLAIN_NAME.fullmatch(domain):
        raise ValueError(f"the domain {domain!r} is no plain name (letters, digits, _ . - and neither . nor - first); the dump's files bear it")
    batches, dim, all_ids = _batches(source, ids)
    made_from = " ".join(_stamp(Path(file)) for file in (source, ids, labels) if file is not None)

    def attributes(number: int) -> DumpAttributes:
        return DumpAttributes(domain, "both", dim, False, "", checkpoint, f"{made_from} shard {number}", dtype)

    # A manifest is written last and taken away by any shard that is written, so that the first shard speaks for all.
    if _is_finished(out, domain) and is_complete(out / f"{domain}-000000.h5", attributes(0)):
        return out
    _refuse_other(out, source)
    names: list[str] = []
    known: Labels | None = None
    if labels is not None:
        known = read_labels(labels, domain)
        refuse_labels_of_others(labels, known, source, all_ids)
    with progress(what=f"convert {source.name}", unit="row", quiet=quiet) as bar:
        for number, (size, read) in enumerate(batches):
            names.append(f"{domain}-{number:06d}")
            path = out / f"{names[-1]}.h5"
            if not is_complete(path, attributes(number)):
                own, rows = read()
                write_dump_shard(path, rows, own, attributes(number), labels=None if known is None else [known.get(item, {}) for item in own])
            bar.update(size)
    _remove_left_over(out, domain, names)
    rows_written = finish_dump(out, names, f"converted from {source.name}")["rows"]
    if not quiet:
        say(f"{source}: {rows_written} rows of width {dim} -> {out}")
        if known is not None:
            say(f"{labels}: {sum(labelled_rows(out / f'{name}.h5') for name in names)} of {rows_written} ids have labels")
    return out


def _is_finished(out: Path, domain: str) -> bool:
    try:
        return read_manifest(out)["domains"] == [domain]
    except ValueError:
        return False


def _refuse_other(out: Path, source: Path) -> None:
    """Raise ValueError where `out` holds anything but what converting `source`, by its name, left there; a kill leaves temporary files."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out}: a file; name a folder for the dump to be")
    found = [path for path in sorted(out.iterdir()) if not path.match(".*.tmp")] if out.is_dir() else []
    shards = {path for path in found if path.suffix == ".h5" and _is_of(path, source)}
    other = next((path.name for path in found if path not in shards and not (shards and path.name in BESIDE_SHARDS)), None)
    if other is not None:
        raise ValueError(
            f"{out}: holds {other}, which is not from converting {source.name}; give another folder, or remove this one if nothing in it is needed"
        )


def _is_of(shard: Path, source: Path) -> bool:
    try:
        made_from = read_attributes(shard).shard_checksum
    except ValueError:
        return False
    return re.fullmatch(rf"{re.escape(source.name)} \d+ \d+ .*shard \d+", made_from) is not None


def _remove_left_over(out: Path, domain: str, names: Collection[str]) -> None:
    """Of a source that was longer before, the shards past its end; `_refuse_other` has seen that they are its own."""
    for path in out.glob(f"{domain}-*.h5"):
        if path.stem not in names and re.fullmatch(r"\d{6,}", path.stem.removeprefix(f"{domain}-")):
            path.unlink()


def _batches(source: Path, ids: str | Path | None) -> tuple[Iterator[Batch], int, Iterator[str]]:
    """(the shards to be, width D, all ids)."""
    if source.suffix == ".npy":
        array = ArrayVectors(source, ids)
        return _of_array(array), array.dim, (name for block in array.id_blocks() for name in decode_ids(block))
    dim = width_of(source)
    return ((len(lines), functools.partial(parse, source, lines, dim)) for lines in line_batches(source, SHARD_ROWS)), dim, ids_in(source)


def _of_array(array: ArrayVectors) -> Iterator[Batch]:
    for own, (_, rows) in zip(array.id_blocks(SHARD_ROWS), array.blocks(SHARD_ROWS)):
        yield len(rows), functools.partial(_pair, own, rows)


def _pair(ids: np.ndarray, rows: np.ndarray) -> tuple[list[str], np.ndarray]:
    return decode_ids(ids), rows


def _stamp(path: Path) -> str:
    """What tells a file from a later one of its name, without reading it."""
    status = path.stat()
    return f"{path.name} {status.st_size} {status.st_mtime_ns}"
