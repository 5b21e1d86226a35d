"""Small dumps and ranked lists for the tests of this room."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from evaluate.embeddings import DumpAttributes, finish_dump, write_dump_shard
from evaluate.ids import encode_ids
from evaluate.labels import LabelValues
from evaluate.ranked import Folded, Ranked, RankedAttributes, write_ranked
from evaluate.vectors import Vectors


def attributes(domain: str = "goods", dim: int = 4, **changes: object) -> DumpAttributes:
    """Attributes of a shard, float32 so that numbers come back as they are."""
    values: dict = {"role": "both", "normalised": False, "recipe": "{}", "checkpoint": "c0ffee", "shard_checksum": "s", "dtype": "float32"}
    return DumpAttributes(domain=domain, dim=dim, **{**values, **changes})


def write_dump(
    folder: Path,
    sides: Sequence[tuple[str, np.ndarray, Sequence[str]]],
    shard_rows: int = 7,
    labels: dict[str, dict] | None = None,
    **changes: object,
) -> Path:
    """A finished dump of (domain or domain.role, rows [n, D], ids), in shards of `shard_rows` rows; labels: {id: labels}."""
    names = []
    for kind, rows, ids in sides:
        domain, _, role = kind.partition(".")
        for number, first in enumerate(range(0, len(rows), shard_rows)):
            chosen = slice(first, first + shard_rows)
            own = attributes(domain, rows.shape[1], role=role or "both", **changes)
            names.append(f"{kind}-{number:06d}")
            of_items = None if labels is None else [labels.get(item, {}) for item in ids[chosen]]
            write_dump_shard(folder / f"{names[-1]}.h5", rows[chosen], ids[chosen], own, labels=of_items)
    finish_dump(folder, names)
    return folder


class Ids(Vectors):
    """Vectors of which nothing but ids, and perhaps labels, are asked."""

    name, dim = "ids", 1

    def __init__(self, ids: Sequence[str], labels: dict[str, list[str | None]] | None = None) -> None:
        self._ids, self._labels = encode_ids(ids), labels or {}

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def id_bytes(self) -> int:
        return self._ids.dtype.itemsize

    def id_blocks(self) -> Iterator[np.ndarray]:
        yield self._ids

    def blocks(self, rows_per_block: int = 65536) -> Iterator[tuple[int, np.ndarray]]:
        raise AssertionError("nothing but ids is asked")

    def label_keys(self) -> list[str]:
        return sorted(self._labels)

    def label_blocks(self, key: str, values: LabelValues) -> Iterator[np.ndarray]:
        own = self._labels.get(key, [None] * len(self))
        yield np.array([-1 if value is None else values.numbers([json.dumps(value)])[0] for value in own], np.int32)


def write_lists(
    path: Path,
    lists: dict[str, Sequence[str]],
    searched: Sequence[str],
    task: str = "video2goods",
    *,
    folded: Sequence[tuple[str, str, str]] = (),
    labels: dict[str, tuple[dict, dict]] | None = None,
    candidates: int = 0,
) -> Ranked:
    """A ranked.h5 with these lists of document ids, scores falling from 0.9 on, among `searched` documents.

    folded: (query, document left out, document of the list that stands for it). labels: {name: ({query: value}, {document: value})}.
    candidates: most documents that a list could hold, where that is not all of them.
    """
    gone = [document for _, document, _ in folded]
    documents = list(dict.fromkeys([document for ids in lists.values() for document in ids] + gone))
    depth = max(len(ids) for ids in lists.values())
    ranks = np.full((len(lists), depth), -1, np.int32)
    for row, ids in enumerate(lists.values()):
        ranks[row, : len(ids)] = [documents.index(document) for document in ids]
    scores = np.tile(np.linspace(0.9, 0.1, depth, dtype=np.float32), (len(lists), 1))
    queries = list(lists)
    triples = sorted((queries.index(query), documents.index(item), list(lists[query]).index(other)) for query, item, other in folded)
    sides = [
        Ids(ids, {key: [both[side].get(item) for item in ids] for key, both in (labels or {}).items()})
        for side, ids in enumerate((queries, list(searched)))
    ]
    about = RankedAttributes(task, len(searched), "c0ffee", dedup=0.98 if triples else 0.0, candidates=candidates)
    own = Folded(*np.array(triples, np.int64).reshape(-1, 3).T)
    write_ranked(path, sides[0], sides[1], encode_ids(documents), ranks, scores, about, own, list(labels or {}))
    return Ranked(path)
