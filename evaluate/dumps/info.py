"""What a dump is, in a few lines."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from evaluate.dump import Dump
from evaluate.dumps.array import ArrayVectors
from evaluate.ids import decode_ids
from evaluate.vectors import Vectors

SHOWN = 3


def info(path: str | Path) -> list[str]:
    """`what: how much` lines about a finished dump, or about a `.npy` with a list of ids."""
    path = Path(path)
    if path.suffix == ".npy":
        array = ArrayVectors(path)
        return [f"vectors: {len(array):,} of width {array.dim}, {array.dtype}", f"first ids: {_first(array)}", f"size: {_size(path.stat().st_size)}"]
    dump = Dump(path)
    rows: Counter[tuple[str, str]] = Counter()
    for shard in dump.shards:
        rows[shard.domain, shard.role] += shard.rows
    roles = {"both": "", "query": " (queries)", "document": " (documents)"}
    files = [shard.path for shard in dump.shards]
    labels = dump.side().label_keys()
    return [
        f"domains: {', '.join(f'{number:,} {domain}{roles[role]}' for (domain, role), number in rows.items())}",
        f"vectors: {dump.rows:,} of width {dump.dim}, {dump.dtype}, {'of length 1' if dump.normalised else 'of any length'}",
        f"made by: {dump.recipe or 'a recipe without a name'}, checkpoint {dump.checkpoint}",
        f"failed items: {sum(shard.failed for shard in dump.shards):,}{' (failed.jsonl)' if any(shard.failed for shard in dump.shards) else ''}",
        f"labels: {', '.join(labels) or 'none'}",
        f"first ids: {_first(dump.side())}",
        f"size: {_size(sum(file.stat().st_size for file in files if file.is_file()))} in {len(files)} shards",
    ]


def _first(vectors: Vectors) -> str:
    return ", ".join(decode_ids(next((ids for ids in vectors.id_blocks() if len(ids)), np.zeros(0, "S1"))[:SHOWN]))


def _size(number: int) -> str:
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{number / 1e6:.1f} MB"
