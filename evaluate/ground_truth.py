"""Which documents are relevant to a query: the released text form and TREC qrels, told apart by their first line.

    released    query id TAB relevant ids, comma-separated
    TREC qrels  query 0 document relevance, in four columns; relevance above 0 is relevant
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote


@dataclass(frozen=True)
class GroundTruth:
    """The relevant documents' ids of each query, each id once, in the order of the file; () for a query that has none."""

    relevant: Mapping[str, tuple[str, ...]]

    @classmethod
    def of_pairs(cls, pairs: Iterable[tuple[str, Iterable[str]]]) -> GroundTruth:
        """From (query id, relevant ids); a query that comes twice has both's."""
        relevant: dict[str, dict[str, None]] = {}
        for query, ids in pairs:
            relevant.setdefault(query, {}).update(dict.fromkeys(ids))
        return cls({query: tuple(ids) for query, ids in relevant.items()})


def read_ground_truth(path: str | Path, released_ids: bool = False) -> GroundTruth:
    """The ground truth in the file `path`.

    Args:
        path: released text form or TREC qrels, UTF-8. Ids of qrels are percent-decoded, as `evaluate.ranked.write_trec` encodes them.
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
        with open(path, encoding="utf-8") as file:
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
    try:
        query, _, document, relevance = columns
        return unquote(query), [unquote(document)] if float(relevance) > 0 else []
    except ValueError:
        raise ValueError(f"{path}: line {number} has {len(columns)} columns, not `query 0 document relevance`: {line[:80]!r}") from None
