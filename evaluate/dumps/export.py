"""A dump as files that other programs read: `embeddings.npy`, `ids.txt`, and `ids.parquet` where pyarrow is installed.

The array is what clip-retrieval, autofaiss and FAISS take; row i of it, line i of ids.txt and row i of ids.parquet (columns `id`, `domain` and
`label.<name>` for each label: a text as it is, anything else as JSON) are one item. pyarrow is large (a 55 MB wheel, several times that
installed) and nothing else needs it, so it is an extra: `pip install -e .[parquet]`.
"""

from __future__ import annotations

import importlib.util
import json
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import h5py
import numpy as np

from evaluate.dump import Dump, DumpShard, DumpSide, open_shard
from evaluate.ids import decode_ids
from evaluate.labels import LabelValues
from launch.files import whole_file, whole_path
from launch.logs import progress


def export(dump: Dump, out: str | Path, domain: str | None = None, dtype: str = "", quiet: bool = False) -> list[Path]:
    """Write the rows of `domain` (None: all) to the folder `out` and return the files, the array last; a former export there is replaced whole.

    Args:
        dtype: float16 or float32 of the array; "" for the dump's own.
        quiet: no progress bar.

    Raises ValueError where the dump holds no such row, and for an id with a line break, which no list of ids can hold.
    """
    side, out = dump.side(domain=domain), Path(out)
    if not len(side):
        raise ValueError(f"{dump.folder} holds no {domain or 'row'}; its domains are {', '.join(dump.domains)}")
    ids, parquet, array = out / "ids.txt", out / "ids.parquet", out / "embeddings.npy"
    # In place at the very end, the innermost first: the former ids go, the array comes, then parquet, then ids. Whenever it stops, ids of one
    # export never stand beside the array of another, and ids.txt says that all is there.
    with whole_file(ids) as file, ExitStack() as before_ids:
        _write_ids(file, dump, side)
        if has_parquet():
            _write_parquet(before_ids.enter_context(whole_path(parquet)), dump, side.shards, side.label_keys())
        with whole_path(array) as temporary:
            _write_array(temporary, dump, side, dtype, quiet)
            for former in (ids, parquet):
                former.unlink(missing_ok=True)
    return [path for path in (ids, parquet, array) if path.exists()]


def has_parquet() -> bool:
    """True where ids.parquet can be written."""
    return importlib.util.find_spec("pyarrow") is not None


def _write_ids(file: IO[str], dump: Dump, side: DumpSide) -> None:
    for ids in side.id_blocks():
        texts = decode_ids(ids)
        if odd := next((text for text in texts if "\n" in text or "\r" in text), None):
            raise ValueError(f"{dump.folder}: the id {odd!r} has a line break, which ids.txt cannot hold; give the item another id")
        file.writelines(f"{text}\n" for text in texts)


def _write_array(path: Path, dump: Dump, side: DumpSide, dtype: str, quiet: bool) -> None:
    rows = np.lib.format.open_memmap(path, "w+", np.dtype(dtype or dump.dtype), (len(side), side.dim))
    with progress(total=len(side), what="export", unit="row", quiet=quiet) as bar:
        for first, block in side.blocks():
            with np.errstate(over="ignore"):
                rows[first : first + len(block)] = block
            if not np.isfinite(rows[first : first + len(block)]).all():
                raise ValueError(f"{dump.folder}: rows from {first} on have numbers too large for {dtype}; export float32")
            bar.update(len(block))
    rows.flush()


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
