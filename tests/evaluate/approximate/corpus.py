"""A corpus of goods in clusters, of all lengths, with clips that look for them; small enough for exact search by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from evaluate.dump import Dump
from evaluate.joined import Joined
from tests.evaluate.dumps import write_dump

GOODS, CLIPS, DIM = 3000, 200, 32
DOCUMENTS, QUERIES = ("both", "document"), ("both", "query")


def vectors(rows: int, seed: int, dim: int = DIM) -> np.ndarray:
    """float32 [rows, dim] around 60 centres, of lengths from 0.2 to 5."""
    centres = np.random.default_rng(99).standard_normal((60, dim))
    draw = np.random.default_rng(seed)
    found = centres[draw.integers(0, 60, rows)] + 0.7 * draw.standard_normal((rows, dim))
    return (found * np.exp(draw.uniform(np.log(0.2), np.log(5), (rows, 1))) / np.sqrt(dim)).astype(np.float32)


def goods_and_clips(folder: Path, seed: int = 0, prefix: str = "g", goods: int = GOODS, clips: int = CLIPS, **changes: object) -> Dump:
    """A dump of both, in shards of 700; every fifth good is Tea, the others are Fruit."""
    ids = [f"{prefix}{row}" for row in range(goods)], [f"{prefix}v{row}" for row in range(clips)]
    labels = {name: {"category": ["Tea" if row % 5 == 0 else "Fruit"]} for row, name in enumerate(ids[0])}
    sides = [("goods", vectors(goods, seed), ids[0]), ("video", vectors(clips, seed + 1000), ids[1])]
    return Dump(write_dump(folder, sides, 700, labels, **changes))


def goods_of(*dumps: Dump) -> Joined:
    """The goods of `dumps`."""
    return Joined(dumps, DOCUMENTS, "goods")


def clips_of(dump: Dump) -> Joined:
    """The clips of `dump`."""
    return Joined([dump], QUERIES, "video")


def exact_best(queries: np.ndarray, docs: np.ndarray, k: int) -> np.ndarray:
    """int64 [q, k] rows of the best documents, by sorting all."""
    return np.argsort(-(queries @ docs.T), axis=1, kind="stable")[:, :k]


def share_found(exact: np.ndarray, found: np.ndarray) -> float:
    """Mean share of each row of `exact` that stands in the same row of `found`."""
    return float(np.mean([len({*one.tolist()} & {*other.tolist()}) / len(one) for one, other in zip(exact, found)]))
