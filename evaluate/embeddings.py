"""The HDF5 dump: one file of embeddings for each input shard, a manifest when all are there, one virtual array over them.

    DUMP/goods-000000.h5    embeddings float16|float32 [n, D], ids UTF-8 [n], failed (JSON lines), labels (`evaluate/labels.py`), attributes
    DUMP/failed.jsonl       items that could not be read: {"id", "shard", "reason"} a line, of all shards
    DUMP/all.h5             embeddings [N, D] and ids [N] of all shards for any HDF5 reader: a virtual array over the files beside it
    DUMP/manifest.json      written last; a folder without it is unfinished

Name and content of a file follow from its input shard and the checkpoint alone, so the number of processes leaves no trace and a
restart goes on with the shards that are not complete. Legend: n rows of a shard, N rows of all, D width.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from evaluate.ids import encode_ids, stored
from evaluate.labels import label_keys, write_labels
from launch.files import checksum, whole_file, whole_path, write_json

FORMAT_VERSION = 1
CHUNK_BYTES = 1 << 20
ANY_ROLE = ("both", "query", "document")


@dataclass(frozen=True)
class DumpAttributes:
    """What a shard of a dump says about itself; two shards of one dump differ in domain, role and shard_checksum alone."""

    domain: str
    """Domain of its items: goods, video, ..."""
    role: str
    """both, query or document."""
    dim: int
    """Width D of an embedding."""
    normalised: bool
    """True where every row has length 1."""
    recipe: str
    """The resolved recipe, JSON text."""
    checkpoint: str
    """Checksum of the checkpoint that made the embeddings."""
    shard_checksum: str
    """Checksum of the input shard."""
    dtype: str = "float16"
    """float16 or float32."""

    def __post_init__(self) -> None:
        if self.dtype not in ("float16", "float32"):
            raise ValueError(f"embeddings of type {self.dtype}: choose float16 or float32")
        if self.dim < 1:
            raise ValueError(f"embeddings of width {self.dim}: at least 1")


def write_dump_shard(
    path: str | Path,
    embeddings: np.ndarray | Iterable[np.ndarray],
    ids: Sequence[str],
    attributes: DumpAttributes,
    failed: Iterable[Mapping[str, str]] = (),
    labels: Sequence[Mapping[str, Any]] | None = None,
) -> None:
    """Write one shard of a dump, whole or not at all. A manifest in its folder is taken away first: the folder is unfinished again.

    Args:
        path: `DUMP/<name of the input shard>.h5`.
        embeddings: [n, D], or blocks [b, D] in the order of `ids`; stored as `attributes.dtype`.
        ids: the rows' ids. Read after the last block, so a caller may fill it while the blocks are made; so is `failed`.
        failed: {"id", "reason"} of the shard's items that could not be read.
        labels: the rows' labels (category, brand, ...), in the order of `ids`; read after the last block, too. None: not known.

    Raises ValueError for a width other than D, numbers of rows that differ, and rows that are not finite in `attributes.dtype`.
    """
    path = Path(path)
    (path.parent / "manifest.json").unlink(missing_ok=True)
    blocks = [embeddings] if isinstance(embeddings, np.ndarray) else embeddings
    with whole_path(path) as temporary, h5py.File(temporary, "w") as file:
        chunks = (chunk_rows(attributes.dim, attributes.dtype), attributes.dim)
        rows = file.create_dataset("embeddings", (0, attributes.dim), attributes.dtype, maxshape=(None, attributes.dim), chunks=chunks)
        for block in blocks:
            _append(path, rows, block, ids)
        encoded = encode_ids(ids)
        if len(encoded) != len(rows):
            raise ValueError(f"{path}: {len(rows)} embeddings but {len(encoded)} ids")
        if labels is not None and len(labels) != len(rows):
            raise ValueError(f"{path}: {len(rows)} embeddings but labels for {len(labels)}")
        file.create_dataset("ids", data=stored(encoded))
        lines = [json.dumps({"id": item["id"], "shard": path.stem, "reason": item["reason"]}, ensure_ascii=False) for item in failed]
        file.create_dataset("failed", data=lines, shape=(len(lines),), dtype=h5py.string_dtype("utf-8"))
        write_labels(file, labels or ())
        for name, value in {"format_version": FORMAT_VERSION, **asdict(attributes)}.items():
            file.attrs[name] = value


def chunk_rows(dim: int, dtype: np.typing.DTypeLike) -> int:
    """Rows of width `dim` that make about 1 MiB, at least one."""
    return max(1, CHUNK_BYTES // (dim * np.dtype(dtype).itemsize))


def _append(path: Path, rows: h5py.Dataset, block: np.ndarray, ids: Sequence[str]) -> None:
    first, dim = rows.shape
    if block.ndim != 2 or block.shape[1] != dim:
        raise ValueError(f"{path}: a block of shape {list(block.shape)} from row {first} on, where rows have width {dim}")
    with np.errstate(over="ignore"):
        rounded = block.astype(rows.dtype, copy=False)
    broken = np.flatnonzero(~np.isfinite(rounded).all(axis=1))
    if len(broken):
        row = int(broken[0])
        name = repr(ids[first + row]) if first + row < len(ids) else "no id yet"
        why = f"too large for {rows.dtype}; store float32" if np.isfinite(block[row]).all() else "not finite"
        raise ValueError(f"{path}: the embedding of row {first + row} ({name}) is {why}")
    rows.resize(first + len(block), axis=0)
    rows[first:] = rounded


def read_attributes(path: str | Path) -> DumpAttributes:
    """What the shard `path` says about itself.

    Raises ValueError where it is not a whole shard of a dump of this format, or its embeddings are not as it says.
    """
    try:
        with h5py.File(path, "r") as file:
            values = dict(file.attrs)
            rows, ids = file["embeddings"], file["ids"]
            version = int(values.get("format_version", -1))
            if version != FORMAT_VERSION or rows.shape[:1] != ids.shape:
                held = f"{len(rows)} rows, ids of shape {list(ids.shape)}"
                raise ValueError(f"format version {version} (this program reads {FORMAT_VERSION}), {held}; embed it again")
            plain = {field.name: values[field.name] for field in fields(DumpAttributes)}
            attributes = DumpAttributes(**{name: value.item() if isinstance(value, np.generic) else value for name, value in plain.items()})
            if rows.shape[1:] != (attributes.dim,) or rows.dtype != attributes.dtype or h5py.check_string_dtype(ids.dtype) is None:
                raise ValueError(
                    f"embeddings {rows.dtype} of shape {list(rows.shape)} and ids {ids.dtype}, where its attributes say {attributes.dtype} of width "
                    f"{attributes.dim} and ids are text; embed it again"
                )
            return attributes
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    except (OSError, KeyError, TypeError, AttributeError) as error:  # the last two: a group or a single number in place of an array
        raise ValueError(f"{path}: not a whole shard of a dump ({error}); embed it again") from error


def is_complete(path: str | Path, attributes: DumpAttributes) -> bool:
    """True where `path` is a whole shard that was made with exactly `attributes`; a restart makes it anew otherwise."""
    if not Path(path).is_file():
        return False
    try:
        return read_attributes(path) == attributes
    except ValueError:
        return False


def finish_dump(folder: str | Path, shards: Sequence[str], recipe_name: str = "") -> dict[str, Any]:
    """Check the shards against each other, write failed.jsonl, all.h5 and, last, manifest.json; return the manifest.

    Args:
        folder: the dump.
        shards: names of all expected shards (no suffix) in the order of the rows of all.h5.
        recipe_name: what people call the recipe, e.g. "qcd:photos".

    Raises ValueError where a shard is missing, or two were made by different checkpoints, recipes, types or widths.
    """
    folder = Path(folder)
    if not shards:
        raise ValueError(f"{folder}: a dump of no shards")
    missing = [name for name in shards if not (folder / f"{name}.h5").is_file()]
    if missing:
        raise ValueError(f"{folder}: {len(missing)} of {len(shards)} shards are missing, the first is {missing[0]}.h5; run embed again")
    first = read_attributes(folder / f"{shards[0]}.h5")
    entries, lines = [], []
    for name in shards:
        path = folder / f"{name}.h5"
        attributes = read_attributes(path)
        for key in ("checkpoint", "dim", "dtype", "normalised", "recipe"):
            ours, theirs = getattr(attributes, key), getattr(first, key)
            if ours != theirs:
                raise ValueError(
                    f"{path} has {key} {_short(ours)}, {folder / shards[0]}.h5 has {_short(theirs)}; "
                    "one dump holds the embeddings of one checkpoint and recipe: embed into another folder"
                )
        with h5py.File(path, "r") as file:
            shard_lines = file["failed"].asstr()[:].tolist()
            rows, id_bytes, labels = len(file["ids"]), file["ids"].dtype.itemsize, label_keys(file)
        entry = {"name": name, "domain": attributes.domain, "role": attributes.role, "rows": rows, "failed": len(shard_lines), "id_bytes": id_bytes}
        entries.append({**entry, "labels": labels, "checksum": checksum(path)})
        lines += shard_lines
    with whole_file(folder / "failed.jsonl") as failed:
        failed.writelines(f"{line}\n" for line in lines)
    _write_all(folder, first, entries)
    manifest = {
        "format_version": FORMAT_VERSION,
        "domains": sorted({str(entry["domain"]) for entry in entries}),
        "dim": first.dim,
        "dtype": first.dtype,
        "normalised": first.normalised,
        "checkpoint": first.checkpoint,
        "recipe": recipe_name,
        "rows": sum(int(str(entry["rows"])) for entry in entries),
        "failed": len(lines),
        "shards": entries,
    }
    write_json(folder / "manifest.json", manifest)
    return manifest


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _write_all(folder: Path, attributes: DumpAttributes, entries: Sequence[Mapping[str, Any]]) -> None:
    total = sum(entry["rows"] for entry in entries)
    id_bytes = max(entry["id_bytes"] for entry in entries)
    embeddings = h5py.VirtualLayout((total, attributes.dim), attributes.dtype)
    with whole_path(folder / "all.h5") as temporary, h5py.File(temporary, "w") as file:
        ids = file.create_dataset("ids", (total,), h5py.string_dtype("utf-8", id_bytes))
        first = 0
        for entry in entries:
            rows, source = entry["rows"], f"{entry['name']}.h5"
            if not rows:
                continue
            embeddings[first : first + rows] = h5py.VirtualSource(source, "embeddings", (rows, attributes.dim), attributes.dtype)
            with h5py.File(folder / source, "r") as shard:
                ids[first : first + rows] = stored(shard["ids"][:], id_bytes)
            first += rows
        # HDF5 fills in without a word for a source file that it cannot open: not-a-number is seen, zeros are not.
        file.create_virtual_dataset("embeddings", embeddings, fillvalue=np.nan)
        for name, value in (("dim", attributes.dim), ("normalised", attributes.normalised), ("checkpoint", attributes.checkpoint)):
            file.attrs[name] = value
        file.attrs["note"] = "Rows of a shard that is missing read as NaN. HDF5 keeps shards open: for more than about 1000, raise `ulimit -n`."
