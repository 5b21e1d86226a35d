"""A dump as files that other programs read: `embeddings.npy`, `ids.txt`, and `ids.parquet` where pyarrow is installed.

The array is what clip-retrieval, autofaiss and FAISS take; row i of it, line i of ids.txt and row i of ids.parquet (columns `id`, `domain` and
`label.<name>` for each label: a text as it is, anything else as JSON) are one item. pyarrow is large (a 55 MB wheel, several times that
installed) and nothing else needs it, so it is an extra: `pip install -e .[parquet]`.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from evaluate.dump import Dump, DumpShard, open_shard
from evaluate.ids import decode_ids
from evaluate.labels import LabelValues
from launch.files import whole_file, whole_path
from launch.logs import progress


def export(dump: Dump, out: str | Path, domain: str | None = None, dtype: str = "", quiet: bool = False) -> list[Path]:
    """Write the rows of `domain` (None: all) to the folder `out` and return the files, the array last.

    Args:
        dtype: float16 or float32 of the array; "" for the dump's own.
        quiet: no progress bar.

    Raises ValueError where the dump holds no such row, and for an id with a line break, which no list of ids can hold.
    """
    side, out = dump.side(domain=domain), Path(out)
    if not len(side):
        raise ValueError(f"{dump.folder} holds no {domain or 'row'}; its domains are {', '.join(dump.domains)}")
    written = [out / "ids.txt"]
    with whole_file(written[0]) as file:
        for ids in side.id_blocks():
            texts = decode_ids(ids)
            if odd := next((text for text in texts if "\n" in text or "\r" in text), None):
                raise ValueError(f"{dump.folder}: the id {odd!r} has a line break, which ids.txt cannot hold; give the item another id")
            file.writelines(f"{text}\n" for text in texts)
    if has_parquet():
        written.append(out / "ids.parquet")
        with whole_path(written[-1]) as temporary:
            _write_parquet(temporary, dump, side.shards, side.label_keys())
    written.append(out / "embeddings.npy")
    with whole_path(written[-1]) as temporary:
        rows = np.lib.format.open_memmap(temporary, "w+", np.dtype(dtype or dump.dtype), (len(side), side.dim))
        with progress(total=len(side), what="export", unit="row", quiet=quiet) as bar:
            for first, block in side.blocks():
                with np.errstate(over="ignore"):
                    rows[first : first + len(block)] = block
                if not np.isfinite(rows[first : first + len(block)]).all():
                    raise ValueError(f"{dump.folder}: rows from {first} on have numbers too large for {dtype}; export float32")
                bar.update(len(block))
        rows.flush()
    return written


def has_parquet() -> bool:
    """True where ids.parquet can be written."""
    return importlib.util.find_spec("pyarrow") is not None


def _write_parquet(path: Path, dump: Dump, shards: tuple[DumpShard, ...], labels: list[str]) -> None:
    import pyarrow
    import pyarrow.parquet

    schema = pyarrow.schema([(name, pyarrow.string()) for name in ("id", "domain", *(f"label.{key}" for key in labels))])
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        for shard in shards:
            with open_shard(dump, shard) as file:
                columns: list[Any] = [decode_ids(file["ids"][:]), [shard.domain] * shard.rows, *(_label_texts(file, key) for key in labels)]
            writer.write_table(pyarrow.table([pyarrow.array(column, pyarrow.string()) for column in columns], schema=schema))


def _label_texts(file: h5py.File, key: str) -> list[str | None]:
    values = LabelValues()
    codes = values.codes(file, key)
    known = [(json.loads(text), text) for text in values.texts]
    texts = [*(value if isinstance(value, str) else text for value, text in known), None]  # a last entry, which stands for -1
    return [texts[code] for code in codes.tolist()]
