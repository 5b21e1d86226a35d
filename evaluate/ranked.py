"""Ranked lists: ranked.h5, which everything after the search reads.

    query_ids [Q], doc_ids [U]      queries; documents that occur in a list or were folded into one that does
    ranks int32 [Q, K]              rows of doc_ids, best first, -1 where a list is shorter; scores float32 [Q, K]
    folded int32 [F, 2]             after a search with --dedup: row of doc_ids, and the place (from 0) of the document that stands for it;
                                    folded_starts int64 [Q + 1] says which are a query's
    searched_ids [N]                all documents that were searched
    labels/<number>                 for each label kept: attribute `key`, values [M] (JSON texts), query_codes int32 [Q], searched_codes int32 [N]
    attributes                      format_version, RankedAttributes

Legend: Q queries, K results a query, N documents searched, U of them in doc_ids, F folded, M values of a label, n queries of a block.
"""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from evaluate.ids import id_hashes, repeated_id, stored
from evaluate.labels import LabelValues
from evaluate.vectors import Vectors
from launch.files import whole_path

FORMAT_VERSION = 1
BLOCK_BYTES = 1 << 24
DATASETS = ("query_ids", "doc_ids", "ranks", "scores", "searched_ids")


@dataclass(frozen=True)
class RankedAttributes:
    """How the lists came about."""

    task: str
    """E.g. video2goods."""
    docs: int
    """N, number of documents searched."""
    checkpoint: str
    """Checksum of the checkpoint that made both sides' embeddings."""
    metric: str = "inner product"
    """What the scores are."""
    queries_failed: int = 0
    """Queries that could not be embedded and have no list."""
    docs_failed: int = 0
    """Documents that could not be embedded and are in no list."""
    dedup: float = 0.0
    """Cosine above which a document was folded into a better one of the list; 0 = none was."""
    only: str = ""
    """Labels that a document had to have, e.g. category=Fruit; empty = none."""
    queries_only: str = ""
    """Labels that a query had to have."""
    index: str = ""
    """The index that was asked, e.g. IVF4096,SQ8, nprobe=32; empty = exact search."""
    index_recall: float = 1.0
    """Mean share of the exact best `index_recall_at` documents that it was measured to find, with queries it was not tuned on."""
    index_recall_at: int = 0
    """0 = exact search."""
    candidates: int = 0
    """Most documents that a list could hold, where a query was ranked with some alone (its own candidates, or those proposed); 0 = all of them."""
    lists: str = ""
    """Checksum of ids, ranks and scores, filled in where the file is written: what tells lists from others. Empty in a file of an older program."""

    @property
    def searched(self) -> dict[str, Any]:
        """What metrics.json says of the search."""
        if not self.index:
            return {"search": f"exact {self.metric}"}
        return {"search": f"approximate {self.metric}: {self.index}", f"search_recall@{self.index_recall_at}": self.index_recall}


class Folded(NamedTuple):
    """Documents that were left out of a list as near-identical to a better one in it: int64 [F] each, ordered by query."""

    query: np.ndarray
    """Row of the query."""
    doc: np.ndarray
    """The document, as `ranks` numbers documents."""
    place: np.ndarray
    """Place from 0, in the query's list, of the document that stands for it."""


NOTHING_FOLDED = Folded(*(np.zeros(0, np.int64) for _ in range(3)))


class ListBlock(NamedTuple):
    """The lists of some queries: `ranks` int32 [n, K] rows of doc_ids from the query `first` on; `folded` counts queries from `first`."""

    first: int
    ranks: np.ndarray
    folded: Folded


def write_ranked(
    path: str | Path,
    queries: Vectors,
    docs: Vectors,
    doc_ids: np.ndarray,
    ranks: np.ndarray,
    scores: np.ndarray,
    attributes: RankedAttributes,
    folded: Folded = NOTHING_FOLDED,
    labels: Sequence[str] = (),
) -> np.ndarray:
    """Write ranked.h5, whole or not at all; returns the query ids.

    Args:
        queries, docs: what was searched with and among: their ids and labels.
        doc_ids: [U] UTF-8 bytes (`evaluate/ids.py`).
        ranks: [Q, K] rows of doc_ids, best first, -1 for padding.
        scores: float32 [Q, K].
        folded: `doc` are rows of doc_ids, too.
        labels: names of labels to keep beside the ids, where a side has them.

    Raises ValueError for an id that stands among the queries or in `doc_ids` twice.
    """
    query_ids = queries.ids()
    for ids, what in ((query_ids, "queries"), (doc_ids, "documents")):
        if again := repeated_id(ids):
            raise ValueError(f"{path}: two {what} have the id {again!r}; ids are unique in a split, repair the corpus and pack it again")
    attributes = replace(attributes, lists=_lists_checksum(query_ids, doc_ids, ranks, scores))
    with whole_path(path) as temporary, h5py.File(temporary, "w") as file:
        file.create_dataset("query_ids", data=stored(query_ids))
        file.create_dataset("doc_ids", data=stored(doc_ids))
        file.create_dataset("ranks", data=ranks, dtype="int32")
        file.create_dataset("scores", data=scores, dtype="float32")
        if len(folded.query):
            _write_folded(file, folded, len(query_ids))
        searched = file.create_dataset("searched_ids", (attributes.docs,), h5py.string_dtype("utf-8", docs.id_bytes))
        first = 0
        for ids in docs.id_blocks():
            searched[first : first + len(ids)] = stored(ids, docs.id_bytes)
            first += len(ids)
        assert first == attributes.docs, f"{first} ids of {attributes.docs} searched documents"
        for number, key in enumerate(labels):
            _write_label(file.create_group(f"labels/{number}"), key, {"query": queries, "searched": docs})
        for name, value in {"format_version": FORMAT_VERSION, **asdict(attributes)}.items():
            file.attrs[name] = value
    return query_ids


def renumber(rows: np.ndarray, docs: int) -> tuple[np.ndarray, np.ndarray]:
    """(the distinct `rows` [n] in ascending order, int32 [n] of their places in them), for rows of `docs` documents; -1 stays."""
    if docs > rows.size:
        used = np.unique(rows)
        used = used[used >= 0]
        return used, np.where(rows >= 0, np.searchsorted(used, rows), -1).astype(np.int32)
    # With more results than documents a table of all documents is the smaller one, and five times faster than sorting. A last entry is -1's.
    listed = np.zeros(docs + 1, bool)
    listed[rows] = True
    listed[-1] = False
    places = np.cumsum(listed, dtype=np.int32) - 1
    places[-1] = -1
    return np.flatnonzero(listed), places[rows]


def reordered(ranked: Ranked, path: str | Path, ranks: np.ndarray, scores: np.ndarray, metric: str) -> Ranked:
    """The lists of `ranked` with other scores, whole or not at all in the file `path`: of its documents, `ranks` [Q, K'] and `scores` [Q, K'].

    A folded document stays beside the one that stands for it, wherever that is now; it goes where that one does.

    Args:
        metric: what the scores are.
    """
    folded = _moved(ranked, ranks)
    with whole_path(path) as temporary:
        shutil.copyfile(ranked.path, temporary)
        with h5py.File(temporary, "r+") as file:
            for name, values, kind in (("ranks", ranks, "int32"), ("scores", scores, "float32")):
                del file[name]
                file.create_dataset(name, data=values, dtype=kind)
            if "folded" in file:
                del file["folded"], file["folded_starts"]
                _write_folded(file, folded, ranked.queries)
            file.attrs["metric"], file.attrs["candidates"] = metric, ranks.shape[1]
            file.attrs["lists"] = _lists_checksum(ranked.query_ids, ranked.doc_ids, ranks, scores)
    return Ranked(path)


def _lists_checksum(query_ids: np.ndarray, doc_ids: np.ndarray, ranks: np.ndarray, scores: np.ndarray) -> str:
    """CRC-32 of what the arrays hold as they are stored, whatever the types and widths they come in."""
    crc = 0
    rows = max(1, BLOCK_BYTES // (4 * max(1, ranks.shape[1])))
    for values, kind in ((id_hashes(query_ids), "<u8"), (id_hashes(doc_ids), "<u8"), (ranks, "<i4"), (scores, "<f4")):
        for first in range(0, len(values), rows):
            crc = zlib.crc32(np.ascontiguousarray(values[first : first + rows], kind).data, crc)
    return f"{crc:08x}"


def _write_label(group: h5py.Group, key: str, sides: dict[str, Vectors]) -> None:
    values = LabelValues()
    group.attrs["key"] = key
    for side, vectors in sides.items():
        codes = group.create_dataset(f"{side}_codes", (len(vectors),), "int32")
        first = 0
        for block in vectors.label_blocks(key, values):
            codes[first : first + len(block)] = block
            first += len(block)
    group.create_dataset("values", data=values.texts, dtype=h5py.string_dtype("utf-8"))


class Ranked:
    """A ranked.h5, opened by its path; ids are read at once, lists in blocks.

    Raises ValueError where the file is not one, or of another format version.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        with self._open() as file:
            if missing := [name for name in DATASETS if not isinstance(file.get(name), h5py.Dataset)]:
                raise ValueError(f"{path}: not what evaluate.search writes: it has no {missing[0]}; give its ranked.h5")
            values = dict(file.attrs)
            if values.get("format_version") != FORMAT_VERSION:
                raise ValueError(f"{path}: format version {values.get('format_version')}, this program reads {FORMAT_VERSION}; search again")
            plain = {name: value.item() if isinstance(value, np.generic) else value for name, value in values.items()}
            if lacking := [field.name for field in fields(RankedAttributes) if field.default is MISSING and field.name not in plain]:
                raise ValueError(f"{path}: not what evaluate.search writes: it has no attribute {lacking[0]}; give its ranked.h5")
            # A file of an older program lacks attributes that have a default.
            self.attributes = RankedAttributes(**{field.name: plain[field.name] for field in fields(RankedAttributes) if field.name in plain})
            self.query_ids: np.ndarray = file["query_ids"][:]
            self.doc_ids: np.ndarray = file["doc_ids"][:]
            shapes = {name: file[name].shape for name in DATASETS}
            if len(shapes["ranks"]) != 2 or shapes["scores"] != shapes["ranks"] or shapes["ranks"][:1] != shapes["query_ids"]:
                said = ", ".join(f"{name} {list(shapes[name])}" for name in ("query_ids", "ranks", "scores"))
                raise ValueError(f"{path}: not what evaluate.search writes: the shapes {said} do not fit; search again")
            self.queries, self.depth = shapes["ranks"]
            self.candidates = self.attributes.candidates or self.attributes.docs
            self._labels = {str(group.attrs["key"]): name for name, group in file.get("labels", {}).items()}

    def blocks(self) -> Iterator[ListBlock]:
        """All lists, in blocks of some 16 MB."""
        rows = max(1, BLOCK_BYTES // (4 * max(1, self.depth)))
        with self._open() as file:
            for first in range(0, self.queries, rows):
                ranks = file["ranks"][first : first + rows]
                yield ListBlock(first, ranks, _folded(file, first, first + len(ranks)))

    def lists(self, rows: Sequence[int], depth: int) -> tuple[np.ndarray, np.ndarray]:
        """(ranks int32, scores float32), both [len(rows), min(depth, K)], of the queries `rows`."""
        with self._open() as file:
            depth = min(depth, self.depth)
            ranks = [file["ranks"][row, :depth] for row in rows]
            scores = [file["scores"][row, :depth] for row in rows]
        return np.array(ranks, np.int32).reshape(-1, depth), np.array(scores, np.float32).reshape(-1, depth)

    def folded(self, row: int) -> Folded:
        """What was folded in the list of the query `row`; `query` is 0."""
        with self._open() as file:
            return _folded(file, row, row + 1)

    def searched_ids(self, rows: int = 1 << 16) -> Iterator[np.ndarray]:
        """The ids of all N documents that were searched, UTF-8 bytes, in blocks of `rows`."""
        with self._open() as file:
            for first in range(0, self.attributes.docs, rows):
                yield file["searched_ids"][first : first + rows]

    def label_keys(self) -> list[str]:
        """Names of the labels that were kept."""
        return sorted(self._labels)

    def label_values(self, key: str) -> list[str]:
        """The different values of the label `key`, JSON texts."""
        with self._open() as file:
            return file[f"labels/{self._labels[key]}/values"].asstr()[:].tolist()

    def query_label(self, key: str) -> np.ndarray:
        """int32 [Q]: the label `key` of the queries, places in `label_values`; -1 where it is missing."""
        with self._open() as file:
            return file[f"labels/{self._labels[key]}/query_codes"][:]

    def searched_label(self, key: str, rows: int = 1 << 16) -> Iterator[np.ndarray]:
        """int32 [n]: the label `key` of all searched documents, in the blocks of `searched_ids`."""
        with self._open() as file:
            for first in range(0, self.attributes.docs, rows):
                yield file[f"labels/{self._labels[key]}/searched_codes"][first : first + rows]

    def _open(self) -> h5py.File:
        if not self.path.is_file():
            raise ValueError(f"{self.path}: no such file; evaluate.search writes it")
        try:
            return h5py.File(self.path, "r")
        except OSError as error:
            raise ValueError(f"{self.path}: not an HDF5 file ({error}); search again") from error


def _write_folded(file: h5py.File, folded: Folded, queries: int) -> None:
    file.create_dataset("folded", data=np.stack([folded.doc, folded.place], axis=1), dtype="int32")
    file.create_dataset("folded_starts", data=np.searchsorted(folded.query, np.arange(queries + 1)))


def _moved(ranked: Ranked, ranks: np.ndarray) -> Folded:
    """What is folded in the lists of `ranked`, at the places that `ranks` [Q, K'] give to what stands for it."""
    parts = [NOTHING_FOLDED]
    for block in ranked.blocks():
        query, doc, place = block.folded
        now = ranks[block.first + query] == block.ranks[query, place][:, None]
        kept = now.any(axis=1)
        parts.append(Folded(block.first + query[kept], doc[kept], now.argmax(axis=1)[kept]))
    return Folded(*map(np.concatenate, zip(*parts)))


def _folded(file: h5py.File, first: int, last: int) -> Folded:
    """Of the queries `first` to `last`, numbered from 0."""
    if "folded" not in file:
        return NOTHING_FOLDED
    starts = file["folded_starts"][first : last + 1]
    doc, place = file["folded"][starts[0] : starts[-1]].astype(np.int64).T
    return Folded(np.repeat(np.arange(last - first), np.diff(starts)), doc, place)
