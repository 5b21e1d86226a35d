"""Ranked lists: ranked.h5, which everything after the search reads, and the TREC run file, which other evaluators read.

    ranked.h5   query_ids [Q], doc_ids [U] (documents that occur in a list), ranks int32 [Q, K] (rows of doc_ids, best first, -1 where
                a list is shorter), scores float32 [Q, K], searched_ids [N] (all documents that were searched); attributes: RankedAttributes

Legend: Q queries, K results a query, N documents searched, U of them in a list, n queries of a block.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from urllib.parse import quote_from_bytes

import h5py
import numpy as np

from evaluate.ids import repeated_id, stored
from launch.files import whole_file, whole_path

FORMAT_VERSION = 1
TREC_QUERIES_AT_ONCE = 128
SIGNIFICANT_DIGITS = 9
QUOTED = re.compile(rb"[\x01-\x20%\x7f]|\xc2[\x85\xa0]|\xe1\x9a\x80|\xe2\x80[\x80-\x8a\xa8\xa9\xaf]|\xe2\x81\x9f|\xe3\x80\x80")
"""What an id cannot hold in a TREC file: UTF-8 of the characters that Unicode calls white space, control characters, and % itself."""


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


def write_ranked(
    path: str | Path,
    query_ids: np.ndarray,
    doc_ids: np.ndarray,
    ranks: np.ndarray,
    scores: np.ndarray,
    searched_ids: Iterable[np.ndarray],
    id_bytes: int,
    attributes: RankedAttributes,
) -> None:
    """Write ranked.h5, whole or not at all.

    Args:
        query_ids, doc_ids: [Q], [U] UTF-8 bytes (`evaluate/ids.py`).
        ranks: [Q, K] rows of doc_ids, best first, -1 for padding.
        scores: float32 [Q, K].
        searched_ids: blocks of the ids of all N documents.
        id_bytes: bytes of the widest of them.

    Raises ValueError for an id that stands in `query_ids` or in `doc_ids` twice.
    """
    for ids, what in ((query_ids, "queries"), (doc_ids, "documents")):
        if again := repeated_id(ids):
            raise ValueError(f"{path}: two {what} have the id {again!r}; ids are unique in a split, repair the corpus and pack it again")
    with whole_path(path) as temporary, h5py.File(temporary, "w") as file:
        file.create_dataset("query_ids", data=stored(query_ids))
        file.create_dataset("doc_ids", data=stored(doc_ids))
        file.create_dataset("ranks", data=ranks, dtype="int32")
        file.create_dataset("scores", data=scores, dtype="float32")
        searched = file.create_dataset("searched_ids", (attributes.docs,), h5py.string_dtype("utf-8", id_bytes))
        first = 0
        for ids in searched_ids:
            searched[first : first + len(ids)] = stored(ids, id_bytes)
            first += len(ids)
        assert first == attributes.docs, f"{first} ids of {attributes.docs} searched documents"
        for name, value in {"format_version": FORMAT_VERSION, **asdict(attributes)}.items():
            file.attrs[name] = value



class Ranked:
    """A ranked.h5, opened by its path; ids are read at once, lists in blocks.

    Raises ValueError where the file is not one, or of another format version.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        with self._open() as file:
            values = dict(file.attrs)
            if values.get("format_version") != FORMAT_VERSION:
                raise ValueError(f"{path}: format version {values.get('format_version')}, this program reads {FORMAT_VERSION}; search again")
            plain = {name: value.item() if isinstance(value, np.generic) else value for name, value in values.items()}
            self.attributes = RankedAttributes(**{field.name: plain[field.name] for field in fields(RankedAttributes)})
            self.query_ids: np.ndarray = file["query_ids"][:]
            self.doc_ids: np.ndarray = file["doc_ids"][:]
            self.queries, self.depth = file["ranks"].shape

    def ranks(self) -> np.ndarray:
        """int32 [Q, K], rows of doc_ids of all lists."""
        with self._open() as file:
            return file["ranks"][:]

    def lists(self, rows: Sequence[int], depth: int) -> tuple[np.ndarray, np.ndarray]:
        """(ranks int32, scores float32), both [len(rows), min(depth, K)], of the queries `rows`."""
        with self._open() as file:
            depth = min(depth, self.depth)
            ranks = [file["ranks"][row, :depth] for row in rows]
            scores = [file["scores"][row, :depth] for row in rows]
        return np.array(ranks, np.int32).reshape(-1, depth), np.array(scores, np.float32).reshape(-1, depth)

    def searched_ids(self, rows: int = 1 << 16) -> Iterator[np.ndarray]:
        """The ids of all N documents that were searched, UTF-8 bytes, in blocks of `rows`."""
        with self._open() as file:
            for first in range(0, self.attributes.docs, rows):
                yield file["searched_ids"][first : first + rows]

    def _open(self) -> h5py.File:
        if not self.path.is_file():
            raise ValueError(f"{self.path}: no such file; evaluate.search writes it")
        try:
            return h5py.File(self.path, "r")
        except OSError as error:
            raise ValueError(f"{self.path}: not an HDF5 file ({error}); search again") from error


def write_trec(path: str | Path, query_ids: np.ndarray, doc_ids: np.ndarray, ranks: np.ndarray, scores: np.ndarray, tag: str = "reelgoods") -> None:
    """Write the lists as a TREC run, whole or not at all: a line `query Q0 document rank score tag` for each result, ranks from 1.

    White space, control characters and % in an id are percent-encoded (their UTF-8 bytes), since a space ends a column there;
    `urllib.parse.unquote` gives the id back. Scores have nine digits counted from the first of the largest score.
    Arguments as `write_ranked` has them.
    """
    # What does not change within a query, a document, a place or three digits is put together once, so that a line has few columns.
    query_names = np.array([name + b" Q0 " for name in _quoted(query_ids).tolist()])
    doc_names = np.array([name + b" " for name in [*_quoted(doc_ids).tolist(), b""]])
    places = np.array([b"%d " % place for place in range(1, ranks.shape[1] + 1)])
    largest = float(np.abs(scores, where=ranks >= 0, out=np.zeros_like(scores)).max(initial=0))
    spell = _speller(largest, b" " + tag.encode() + b"\n")
    with whole_file(path, "wb") as file:
        for first in range(0, len(query_names), TREC_QUERIES_AT_ONCE):
            chosen = slice(first, first + TREC_QUERIES_AT_ONCE)
            columns = (query_names[chosen, None], doc_names[ranks[chosen]], places, *spell(scores[chosen]))
            file.write(_lines(columns, ranks[chosen] >= 0))


def _lines(columns: Sequence[np.ndarray], kept: np.ndarray) -> bytes:
    """The columns [n, K] side by side. NumPy pads text with zero bytes, no column holds one otherwise, so taking them all out is enough."""
    lines = np.empty(kept.shape, [(f"column_{number}", column.dtype) for number, column in enumerate(columns)])
    for number, column in enumerate(columns):
        lines[f"column_{number}"] = column
    return (lines if kept.all() else lines[kept]).tobytes().translate(None, b"\0")


def _speller(largest: float, end: bytes) -> Callable[[np.ndarray], list[np.ndarray]]:
    """A function that makes columns of scores [n, K]: sign, whole part and point, then groups of three digits, `end` behind the last.

    Groups are looked up, so that five million numbers take a second instead of ten. Where the `largest` of all scores has no ordinary
    size, they are spelt one by one.
    """
    exponent = int(np.floor(np.log10(largest))) if largest > 0 else 0
    groups = -(-(SIGNIFICANT_DIGITS - 1 - exponent) // 3)
    if not 1 <= groups <= 5 or exponent > 2:
        return lambda scores: [np.char.mod(b"%.9g" + end, scores)]
    signed = np.array([sign + b"%d." % number for sign in (b"", b"-") for number in range(1001)])
    inner, last = (np.array([b"%03d" % number + behind for number in range(1000)]) for behind in (b"", end))

    def spell(scores: np.ndarray) -> list[np.ndarray]:
        values = np.rint(np.abs(scores.astype(np.float64)) * 1000**groups).astype(np.int64)
        columns: list[np.ndarray] = []
        for group in range(groups):
            # NumPy divides by a constant several times faster than it takes a remainder.
            higher = values // 1000
            columns.insert(0, (inner if group else last)[values - 1000 * higher])
            values = higher
        return [signed[values + 1001 * (scores < 0)], *columns]

    return spell


def _quoted(ids: np.ndarray) -> np.ndarray:
    if not QUOTED.search(ids.tobytes()):
        return ids
    return np.array([QUOTED.sub(lambda found: quote_from_bytes(found.group()).encode(), text) for text in ids.tolist()], dtype=bytes)
