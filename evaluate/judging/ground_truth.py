"""Which documents are relevant to a query: the released text form and TREC qrels, told apart by their first line.

    released    query id TAB relevant ids, comma-separated
    TREC qrels  query 0 document relevance, in four columns; relevance above 0 is relevant

Held in arrays, so that a million queries are tens of bytes each and not a dict, a tuple and a text for every id.
Legend: Q queries, R different relevant documents, P pairs (query, relevant document).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from urllib.parse import unquote

import numpy as np

from evaluate.ids import IdTable, decode_ids, encode_ids

LINES_AT_ONCE = 1 << 14


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """The relevant documents of each query, each once, in the order of the file; a query may have none.

    query_ids: [Q] UTF-8 bytes, each once. starts: int64 [Q + 1], where each query's pairs begin. documents: int64 [P], rows of doc_ids.
    doc_ids: [R] UTF-8 bytes, ascending.
    """

    query_ids: np.ndarray
    starts: np.ndarray
    documents: np.ndarray
    doc_ids: np.ndarray

    @classmethod
    def of_pairs(cls, pairs: Iterable[tuple[str, Iterable[str]]]) -> GroundTruth:
        """From (query id, relevant ids); a query that comes twice has both's."""
        named, counted, listed = [np.zeros(0, "S1")], [np.zeros(0, np.int64)], [np.zeros(0, "S1")]
        pairs = iter(pairs)
        while some := [(query, list(ids)) for query, ids in islice(pairs, LINES_AT_ONCE)]:
            named.append(encode_ids(query for query, _ in some))
            counted.append(np.array([len(ids) for _, ids in some], np.int64))
            listed.append(encode_ids(document for _, ids in some for document in ids))
        queries, first, which = np.unique(np.concatenate(named), return_index=True, return_inverse=True)
        order = np.argsort(first)
        number = np.argsort(order)
        doc_ids, documents = np.unique(np.concatenate(listed), return_inverse=True)
        owners = np.repeat(number[which], np.concatenate(counted))
        _, kept = np.unique(owners * len(doc_ids) + documents, return_index=True)
        kept = kept[np.lexsort((kept, owners[kept]))]
        starts = np.concatenate([[0], np.cumsum(np.bincount(owners[kept], minlength=len(queries)))])
        return cls(queries[order], starts, documents[kept], doc_ids)

    @property
    def relevant(self) -> Mapping[str, tuple[str, ...]]:
        """Query id -> ids of its relevant documents, () where it has none."""
        return _Relevant(self)

    @property
    def counts(self) -> np.ndarray:
        """int64 [Q]: how many documents are relevant to each query."""
        return np.diff(self.starts)

    def rows_of(self, query_ids: np.ndarray) -> np.ndarray:
        """int64 [n]: rows of the queries `query_ids`, -1 for one that is not here."""
        return self._table.places(query_ids)

    @functools.cached_property
    def _table(self) -> IdTable:
        return IdTable(self.query_ids)


class _Relevant(Mapping[str, tuple[str, ...]]):
    def __init__(self, truth: GroundTruth) -> None:
        self._truth = truth

    def __getitem__(self, query: str) -> tuple[str, ...]:
        [row] = self._truth.rows_of(np.array([query.encode()]))
        if row < 0:
            raise KeyError(query)
        chosen = self._truth.documents[self._truth.starts[row] : self._truth.starts[row + 1]]
        return tuple(decode_ids(self._truth.doc_ids[chosen]))

    def __iter__(self) -> Iterator[str]:
        return (query.decode() for query in self._truth.query_ids)

    def __len__(self) -> int:
        return len(self._truth.query_ids)


def read_ground_truth(path: str | Path, released_ids: bool = False) -> GroundTruth:
    """The ground truth in the file `path`.

    Args:
        path: released text form or TREC qrels, UTF-8 with or without a byte order mark. Ids of qrels are percent-decoded, as
            `evaluate.trec.write_trec` encodes them.
        released_ids: undo the released spelling of ids (`released_id`). Only on request: a catalogue's own id may end in _0.

    Raises ValueError naming file and line for a line of neither form.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such file; the ground truth is a text file of `query id TAB relevant ids` lines or TREC qrels")
    spell = released_id if released_ids else str
    truth = GroundTruth.of_pairs((spell(query), map(spell, ids)) for query, ids in _lines(path))
    if not truth.relevant:
        raise ValueError(f"{path}: no line in it; a query without relevant documents is left out, but not every query")
    return truth


def released_id(text: str) -> str:
    """The plain id of a released one: `3000003_0` (first frame of a video) is 3000003, `1000001.jpg` (its picture) is 1000001."""
    return text.removesuffix(".jpg").removesuffix("_0")


def _lines(path: Path) -> Iterator[tuple[str, list[str]]]:
    qrels: bool | None = None
    try:
        with open(path, encoding="utf-8-sig") as file:  # a byte order mark is no part of the first query's id
            for number, line in enumerate(file, 1):
                line = line.rstrip("\r\n")
                if not line.strip():
                    continue
                if qrels is None:
                    qrels = len(line.split()) == 4 and line.count("\t") != 1
                yield _qrels_line(path, number, line) if qrels else _released_line(path, number, line)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text ({error})") from error


def _released_line(path: Path, number: int, line: str) -> tuple[str, list[str]]:
    columns = line.split("\t")
    if len(columns) != 2 or not columns[0].strip():
        raise ValueError(f"{path}: line {number} has {len(columns)} columns, not `query id TAB relevant ids`: {line[:80]!r}")
    ids = [text.strip() for text in columns[1].split(",")] if columns[1].strip() else []
    if not all(ids):
        raise ValueError(f"{path}: line {number} has an empty id between commas: {line[:80]!r}")
    return columns[0].strip(), ids


def _qrels_line(path: Path, number: int, line: str) -> tuple[str, list[str]]:
    columns = line.split()
    if len(columns) != 4:
        raise ValueError(f"{path}: line {number} has {len(columns)} columns, not `query 0 document relevance`: {line[:80]!r}")
    query, _, document, relevance = columns
    return unquote(query), [unquote(document)] if _number(path, number, relevance) > 0 else []


def _number(path: Path, number: int, relevance: str) -> float:
    try:
        value = float(relevance)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{path}: line {number} has the relevance {relevance!r}; give a number, above 0 for a relevant document")
    return value
