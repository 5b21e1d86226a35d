"""Small dumps and ranked lists for the tests of this room."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from evaluate.embeddings import DumpAttributes, finish_dump, write_dump_shard
from evaluate.ids import encode_ids
from evaluate.ranked import Ranked, RankedAttributes, write_ranked


def attributes(domain: str = "goods", dim: int = 4, **changes: object) -> DumpAttributes:
    """Attributes of a shard, float32 so that numbers come back as they are."""
    values: dict = {"role": "both", "normalised": False, "recipe": "{}", "checkpoint": "c0ffee", "shard_checksum": "s", "dtype": "float32"}
    return DumpAttributes(domain=domain, dim=dim, **{**values, **changes})


def write_dump(folder: Path, sides: Sequence[tuple[str, np.ndarray, Sequence[str]]], shard_rows: int = 7, **changes: object) -> Path:
    """A finished dump of (domain or domain.role, rows [n, D], ids), in shards of `shard_rows` rows."""
    names = []
    for kind, rows, ids in sides:
        domain, _, role = kind.partition(".")
        for number, first in enumerate(range(0, len(rows), shard_rows)):
            chosen = slice(first, first + shard_rows)
            own = attributes(domain, rows.shape[1], role=role or "both", **changes)
            names.append(f"{kind}-{number:06d}")
            write_dump_shard(folder / f"{names[-1]}.h5", rows[chosen], ids[chosen], own)
    finish_dump(folder, names)
    return folder


def write_lists(path: Path, lists: dict[str, Sequence[str]], searched: Sequence[str], task: str = "video2goods") -> Ranked:
    """A ranked.h5 with these lists of document ids, scores falling from 0.9 on, among `searched` documents."""
    documents = list(dict.fromkeys(document for ids in lists.values() for document in ids))
    depth = max(len(ids) for ids in lists.values())
    ranks = np.full((len(lists), depth), -1, np.int32)
    for row, ids in enumerate(lists.values()):
        ranks[row, : len(ids)] = [documents.index(document) for document in ids]
    scores = np.tile(np.linspace(0.9, 0.1, depth, dtype=np.float32), (len(lists), 1))
    all_ids = encode_ids(searched)
    about = RankedAttributes(task, len(searched), "c0ffee")
    write_ranked(path, encode_ids(lists), encode_ids(documents), ranks, scores, [all_ids], all_ids.dtype.itemsize, about)
    return Ranked(path)
