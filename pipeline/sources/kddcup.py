"""The layout of KDD Cup 2020, multimodal recall: products as regions of their photos, search queries, candidates of each query.

    train.tsv                      or train.sample.tsv; a row a query and a product that was clicked for it (three million rows, 124 GB)
    valid.tsv, testA.tsv, testB.tsv     a row a query and one of its some thirty candidates; splits val, testA, testB
    valid_answer.json              {query id: [ids of the relevant products]}; testA_answer.json, testB_answer.json where they are to be had

each here or one folder below; rows as in `pipeline.sources.kddcup_rows`. A product is an item of domain goods with the features `regions`,
`boxes` and `region_labels`. In train its queries are the words of its rows. In the other splits queries are items of their own, by query id,
and what a row says is only that the product is a candidate (pools/query2goods.tsv of the packed split).

A file is gone through once from front to back to be listed, with a line of it in memory (`list_files` takes its checksum, which is another pass: some
minutes a hundred gigabytes on a fast disk); then each packing process reads the range of bytes that is its shard. So pack it once, and train on
the packed split. A product on several rows is one item with the queries of all of them, if its regions are the same in all.

A row that does not fit is rejected with its line and the reason.
"""

from __future__ import annotations

import os
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from launch.files import read_json
from pipeline.item import Item, Query
from pipeline.sources import UNNUMBERED, BadItem, Entry, Rejected
from pipeline.sources.kddcup_rows import COLUMNS, Named, lines_of, named, regions_of

FILES = {"train": ("train.tsv", "train.sample.tsv"), "val": ("valid.tsv",), "testA": ("testA.tsv",), "testB": ("testB.tsv",)}
ANSWERS = {"val": "valid_answer.json", "testA": "testA_answer.json", "testB": "testB_answer.json"}
TASK = "query2goods"
_RECOGNISED_BY = 1 << 20
"""Bytes of a file that are looked at: a row is some 40 kB."""


class KDDCup:
    """Reader of the layout."""

    name = "kddcup"
    looked_for = f"train.tsv, valid.tsv, testA.tsv or testB.tsv with the {len(COLUMNS)} columns of KDD Cup 2020's multimodal recall"
    keeps_order = True

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self._descriptors: dict[str, int] = {}
        self._widths: dict[str, int] = {}

    @classmethod
    def recognise(cls, root: Path) -> bool:
        """True where a split's file is there and its first line has nine columns."""
        found = [file for names in FILES.values() for file in _candidates(Path(root), *names)]
        return bool(found) and all(_has_columns(file) for file in found)

    def splits(self) -> tuple[str, ...]:
        """The splits that have a file."""
        return tuple(split for split, names in FILES.items() if _candidates(self.root, *names))

    def list_files(self, split: str) -> list[Path]:
        """The file of rows, and that of the answers where there is one."""
        return [self._file(split), *([answers] if (answers := self._answers(split)) else [])]

    def clusters(self, split: str) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Nothing: queries have no clusters."""
        return iter(())

    def entries(self, split: str) -> Iterator[Entry | Rejected]:
        """For each row its product, in train with the row's query; elsewhere the query as an item of its own."""
        file = self._file(split)
        where = str(file.relative_to(self.root))
        with closing(_Products()) as products:
            for line in lines_of(file):
                id = ""
                try:
                    row = named(line.data)
                    id = row.product
                    payload = products.place_of(row, line.number, f"{line.offset} {len(line.data)}")
                except BadItem as error:
                    yield Rejected(id, "goods", where, f"line {line.number}: {error.reason}")
                    continue
                told: dict[str, Any] = {"file": where, "line": line.number, "repeats": True}
                if split == "train":
                    yield Entry(row.product, "goods", queries=(Query(UNNUMBERED, row.query),), payload=payload, **told)
                else:
                    yield Entry(row.query_id, "query", "query", payload=row.query, **told)
                    yield Entry(row.product, "goods", "document", payload=payload, **told)

    def read(self, entry: Entry) -> Item:
        """The query's words, or the product's regions out of its row."""
        if entry.domain == "query":
            return Item(entry.id, entry.domain, entry.role, {"title": entry.payload}, labels=entry.labels)
        offset, size = map(int, entry.payload.split())
        if entry.file not in self._descriptors:
            self._descriptors[entry.file] = os.open(self.root / entry.file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            features = regions_of(os.pread(self._descriptors[entry.file], size, offset), self._width(entry.file))
        except BadItem as error:
            raise BadItem(entry.file, f"line {entry.line}: {error.reason}") from error
        return Item(entry.id, entry.domain, entry.role, queries=entry.queries, labels=entry.labels, features=features)

    def ground_truth(self, split: str) -> dict[str, Iterator[tuple[str, list[str]]]]:
        """What the answers say, where they are there."""
        answers = self._answers(split)
        return {TASK: _answers_in(answers)} if answers else {}

    def derives_ground_truth(self, split: str) -> bool:
        """False: products of a row are candidates of its query, relevant or not."""
        return False

    def pools(self, split: str) -> dict[str, Iterator[tuple[str, str]]]:
        """The candidates of each query, row by row; none of train's."""
        return {} if split == "train" else {TASK: self._pairs(split)}

    def _pairs(self, split: str) -> Iterator[tuple[str, str]]:
        for line in lines_of(self._file(split)):
            try:
                row = named(line.data)
            except BadItem:
                continue  # `entries` names the line and its fault
            yield row.query_id, row.product

    def _file(self, split: str) -> Path:
        found = _candidates(self.root, *FILES[split])
        if len(found) > 1:
            raise ValueError(f"{self.root}: {' and '.join(str(file.relative_to(self.root)) for file in found)} are both split {split}; keep one")
        return found[0]

    def _answers(self, split: str) -> Path | None:
        return next(iter(_candidates(self.root, ANSWERS[split])), None) if split in ANSWERS else None

    def _width(self, file: str) -> int:
        """D of the first row of the file that is whole: that of all others."""
        if file not in self._widths:
            for line in lines_of(self.root / file):
                try:
                    self._widths[file] = regions_of(line.data)["regions"].shape[1]
                    break
                except BadItem:
                    continue  # `read` names the line and its fault
        return self._widths[file]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_descriptors": {}}

    def __del__(self) -> None:
        for descriptor in getattr(self, "_descriptors", {}).values():
            os.close(descriptor)


class _Products:
    """Where each product's first row is, in a temporary file, so that memory stays flat."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("")
        self._database.execute("CREATE TABLE products (id TEXT PRIMARY KEY, line INTEGER, place TEXT, sum INTEGER) WITHOUT ROWID")

    def place_of(self, row: Named, line: int, place: str) -> str:
        """`place`, or that of the product's first row. Raises BadItem where its regions are others there."""
        found = zlib.crc32(row.picture)
        known = self._database.execute("SELECT line, place, sum FROM products WHERE id = ?", (row.product,)).fetchone()
        if known is None:
            self._database.execute("INSERT INTO products VALUES (?, ?, ?, ?)", (row.product, line, place, found))
            return place
        if known[2] != found:
            raise BadItem("", f"product {row.product} is on line {known[0]} already, with other regions")
        return known[1]

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()


def _candidates(root: Path, *names: str) -> list[Path]:
    """The files of the first of `names` that is there, here or one folder below."""
    for name in names:
        found = [path for path in (root / name, *sorted(root.glob(f"*/{name}"))) if path.is_file()]
        if found:
            return found
    return []


def _has_columns(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(_RECOGNISED_BY).partition(b"\n")[0].count(b"\t") == len(COLUMNS) - 1


def _answers_in(path: Path) -> Iterator[tuple[str, list[str]]]:
    found = read_json(path)
    if not isinstance(found, dict) or not all(isinstance(ids, list) and ids for ids in found.values()):
        raise ValueError(f"{path}: not a dictionary of query ids with a list of product ids each")
    for query, ids in found.items():
        yield query, [str(id) for id in ids]
