"""What is to be packed of a split, in a temporary SQLite file: items with their merged queries, their order, the cut into shards.

Written in one pass over a source's entries by one process, then read by all packing processes at once. Memory stays flat however
many items there are: everything lives in the file. Listing a split anew gives the same content. In the queries, CROSS JOIN is SQLite's
way to say that tables are gone through in the order written.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from launch.files import whole_path
from launch.logs import progress
from pipeline.item import Query
from pipeline.packing.holdout import hold_out
from pipeline.packing.pools import pools_of, write_pools
from pipeline.packing.queries import LONGEST_ID, place_queries
from pipeline.packing.truth import write_query_truth, write_shared_truth, write_truth
from pipeline.sources import UNNUMBERED, BadItem, Entry, Rejected, Source, keeps_order, queries_are_links

FEWEST_SAMPLES = 64
SHARDS_WANTED = 16
"""A domain of fewer than `SHARDS_WANTED` full shards is cut into up to that many of at least `FEWEST_SAMPLES` samples, so that a
small corpus too can be dealt to several processes."""

_TABLES = """
CREATE TABLE corpus (queries_are_links INTEGER);
CREATE TABLE clusters (words TEXT PRIMARY KEY, cluster TEXT) WITHOUT ROWID;
CREATE TABLE queries (number INTEGER PRIMARY KEY, words TEXT UNIQUE, cluster TEXT);
CREATE TABLE items (number INTEGER PRIMARY KEY, domain TEXT, id TEXT, role TEXT, labels TEXT, payload TEXT, file TEXT, line INTEGER);
CREATE INDEX items_by_id ON items (domain, id);
CREATE TABLE links (item INTEGER, query INTEGER, PRIMARY KEY (item, query)) WITHOUT ROWID;
CREATE TABLE gathered (item INTEGER, query INTEGER, PRIMARY KEY (item, query)) WITHOUT ROWID;
CREATE TABLE answers (query INTEGER, item INTEGER, PRIMARY KEY (query, item)) WITHOUT ROWID;
CREATE TABLE rejected (number INTEGER PRIMARY KEY, id TEXT, domain TEXT, file TEXT, reason TEXT);
CREATE TABLE places (split TEXT, domain TEXT, role TEXT, key INTEGER, item INTEGER, PRIMARY KEY (split, domain, role, key, item)) WITHOUT ROWID;
CREATE TABLE shards (split TEXT, number INTEGER, name TEXT, domain TEXT, role TEXT, key INTEGER, item INTEGER, samples INTEGER,
    PRIMARY KEY (split, number));
CREATE TABLE numbers (split TEXT, query INTEGER, number INTEGER, PRIMARY KEY (split, query)) WITHOUT ROWID;
CREATE TABLE truth_queries (number INTEGER PRIMARY KEY, split TEXT, task TEXT, id TEXT, UNIQUE (split, task, id));
CREATE TABLE truth (query INTEGER, document TEXT, number INTEGER, PRIMARY KEY (query, document)) WITHOUT ROWID;
CREATE TABLE truth_kinds (split TEXT, task TEXT, kind TEXT, PRIMARY KEY (split, task));
CREATE TABLE pools (number INTEGER PRIMARY KEY, split TEXT, task TEXT, query TEXT, document TEXT);
"""


@dataclass(frozen=True)
class ListedShard:
    """A shard to be written: its name, what it holds, and how many items are listed for it."""

    name: str
    domain: str
    role: str
    samples: int


def write_listing(path: Path, source: Source, split: str, *, shard_samples: int, holdout_videos: int, holdout_goods: int, stop_at_bad: bool) -> None:
    """List a split of a corpus into the file `path`, which appears when it is whole.

    Args:
        shard_samples: most samples in a shard.
        holdout_videos: clips of split train that become split val; see `pipeline.packing.holdout`.
        holdout_goods: goods that are copied into that val split, at most, unless more share a query with its clips.
        stop_at_bad: raise ValueError at the first entry that cannot be listed, in place of listing it as rejected.
    """
    with whole_path(path) as temporary, closing(sqlite3.connect(temporary)) as database:
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-8000", "temp_store=FILE"):
            database.execute(f"PRAGMA {pragma}")
        database.executescript(_TABLES)
        links = queries_are_links(source)
        database.execute("INSERT INTO corpus VALUES (?)", (links,))
        clusters = ((words, json.dumps(cluster)) for words, cluster in source.clusters(split))
        database.executemany("INSERT OR IGNORE INTO clusters VALUES (?, ?)", clusters)
        for entry in progress(source.entries(split), what=f"list {split}", unit="line"):
            rejected = entry if isinstance(entry, Rejected) else _add(database, entry)
            if rejected and stop_at_bad:
                raise ValueError(f"{source.root / rejected.file}: {rejected.reason} (--on_bad_item skip goes on and lists it in rejected.jsonl)")
            if rejected:
                database.execute("INSERT INTO rejected VALUES (NULL, ?, ?, ?, ?)", (rejected.id, rejected.domain, rejected.file, rejected.reason))
        _place(database, split, by_hash=split == "train" and not keeps_order(source))
        write_pools(database, split, source)
        write_truth(database, split, source.ground_truth(split))
        if source.derives_ground_truth(split):
            write_shared_truth(database, split)
        if holdout_videos:
            hold_out(database, holdout_videos, holdout_goods)
        for (name,) in database.execute("SELECT DISTINCT split FROM places").fetchall():
            if name != "train" and not links:
                place_queries(database, name)
                write_query_truth(database, name)
            _cut(database, name, shard_samples)
            database.execute(
                "INSERT INTO numbers SELECT ?, query, ROW_NUMBER() OVER (ORDER BY query) - 1 FROM "
                "(SELECT DISTINCT links.query FROM places CROSS JOIN links ON links.item = places.item WHERE split = ?)",
                (name, name),
            )
        database.commit()


class Listing:
    """A written listing, opened for reading. Not to be shared between processes: each opens its own."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)

    def queries_are_links(self) -> bool:
        """Whether the queries are nothing that people type (`pipeline.sources.queries_are_links`)."""
        return bool(self._database.execute("SELECT queries_are_links FROM corpus").fetchone()[0])

    def shards(self, split: str) -> list[ListedShard]:
        """The shards of the split by number."""
        rows = self._database.execute("SELECT name, domain, role, samples FROM shards WHERE split = ? ORDER BY number", (split,))
        return [ListedShard(*row) for row in rows]

    def shard(self, split: str, number: int) -> ListedShard:
        """The shard at `number`."""
        row = self._database.execute("SELECT name, domain, role, samples FROM shards WHERE split = ? AND number = ?", (split, number)).fetchone()
        return ListedShard(*row)

    def items(self, split: str) -> int:
        """Number of items listed for the split."""
        return self._database.execute("SELECT COALESCE(SUM(samples), 0) FROM shards WHERE split = ?", (split,)).fetchone()[0]

    def entries(self, split: str, number: int) -> list[Entry]:
        """The items of one shard in their order, with numbered queries."""
        domain, role, key, item, samples = self._database.execute(
            "SELECT domain, role, key, item, samples FROM shards WHERE split = ? AND number = ?", (split, number)
        ).fetchone()
        rows = self._database.execute(
            "SELECT items.number, id, labels, payload, file, line FROM places CROSS JOIN items ON items.number = places.item "
            "WHERE split = ? AND places.domain = ? AND places.role = ? AND (key, item) >= (?, ?) ORDER BY key, item LIMIT ?",
            (split, domain, role, key, item, samples),
        ).fetchall()
        return [
            Entry(id, domain, role, self._queries_of(split, item), json.loads(labels), payload, file, line)
            for item, id, labels, payload, file, line in rows
        ]

    def queries(self, split: str) -> Iterator[Query]:
        """All queries of the split in the order of their numbers."""
        rows = self._database.execute(
            "SELECT numbers.number, words, cluster FROM numbers CROSS JOIN queries ON queries.number = query WHERE split = ? ORDER BY query", (split,)
        )
        return (Query(number, words, tuple(json.loads(cluster))) for number, words, cluster in rows)

    def rejected(self) -> Iterator[Rejected]:
        """What could not be listed, in the order of the corpus' files."""
        return (Rejected(*row) for row in self._database.execute("SELECT id, domain, file, reason FROM rejected ORDER BY number"))

    def truth_kinds(self, split: str) -> dict[str, str]:
        """Task -> where its ground truth comes from (`pipeline.packing.truth` has the kinds)."""
        return dict(self._database.execute("SELECT task, kind FROM truth_kinds WHERE split = ? ORDER BY task DESC", (split,)))

    def truth(self, split: str, task: str) -> Iterator[tuple[str, str]]:
        """(query id, relevant id), those of one query together."""
        return self._database.execute(
            "SELECT truth_queries.id, document FROM truth_queries CROSS JOIN truth ON truth.query = truth_queries.number "
            "WHERE split = ? AND task = ? ORDER BY truth_queries.number, truth.number",
            (split, task),
        )

    def pools(self, split: str, task: str) -> Iterator[tuple[str, list[str]]]:
        """(query id, ids of its candidates) of the task; none where the corpus names no candidates."""
        return pools_of(self._database, split, task)

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    def _queries_of(self, split: str, item: int) -> tuple[Query, ...]:
        rows = self._database.execute(
            "SELECT numbers.number, words, cluster FROM links CROSS JOIN numbers ON numbers.query = links.query "
            "CROSS JOIN queries ON queries.number = links.query WHERE links.item = ? AND numbers.split = ? ORDER BY links.query",
            (item, split),
        )
        return tuple(Query(number, words, tuple(json.loads(cluster))) for number, words, cluster in rows)


def order_key(domain: str, id: str) -> int:
    """Where an item of a train split stands: a hash of its domain and id, so that neighbours in a shard are unrelated."""
    return int.from_bytes(hashlib.blake2b(f"{domain}\x1f{id}".encode(), digest_size=8).digest(), "big", signed=True)


def _add(database: sqlite3.Connection, entry: Entry) -> Rejected | None:
    """Put an entry into the tables, merged with what is there of the same item; the reason where that cannot be."""
    size = len(entry.id.encode())
    if size > LONGEST_ID:
        return _refused(
            replace(entry, id=f"{entry.id[:40]}…"), f"id of {size:,} bytes, {LONGEST_ID} at most: dumps give every id the room of the longest"
        )
    same: tuple[Any, ...] | None = None
    known = "SELECT number, role, labels, payload, file, line FROM items WHERE domain = ? AND id = ?"
    for row in database.execute(known, (entry.domain, entry.id)).fetchall():
        if not entry.repeats:
            return _refused(entry, f"id {entry.id!r} of domain {entry.domain} is on line {row[5]} of {row[4]} already")
        if row[3] == entry.payload:
            same = row
        elif entry.role in (row[1], "both") or row[1] == "both":
            return _refused(entry, f"id {entry.id!r} of domain {entry.domain} is on line {row[5]} of {row[4]} already, with other files")
    try:
        queries = [_query_number(database, query) for query in entry.queries]
    except BadItem as error:
        return _refused(entry, error.reason)
    if same is None:
        number = database.execute(
            "INSERT INTO items VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)",
            (entry.domain, entry.id, entry.role, json.dumps(dict(entry.labels), ensure_ascii=False), entry.payload, entry.file, entry.line),
        ).lastrowid
    else:
        number, role, labels = same[:3]
        merged = json.dumps({**entry.labels, **json.loads(labels)}, ensure_ascii=False)
        if role != entry.role or merged != labels:
            database.execute("UPDATE items SET role = ?, labels = ? WHERE number = ?", (role if role == entry.role else "both", merged, number))
    database.executemany("INSERT OR IGNORE INTO links VALUES (?, ?)", ((number, query) for query in queries))
    if entry.gathered_by and entry.role != "query":
        gathered_by = _query_number(database, Query(UNNUMBERED, entry.gathered_by))
        database.execute("INSERT OR IGNORE INTO gathered VALUES (?, ?)", (number, gathered_by))
    return None


def _refused(entry: Entry, reason: str) -> Rejected:
    return Rejected(entry.id, entry.domain, entry.file, f"line {entry.line}: {reason}")


def _query_number(database: sqlite3.Connection, query: Query) -> int:
    """The number of the query with these words, new or known; the same words are the same query."""
    cluster = json.dumps(query.cluster)
    known = database.execute("SELECT number, cluster FROM queries WHERE words = ?", (query.words,)).fetchone()
    if known is None:
        if not query.cluster:
            found = database.execute("SELECT cluster FROM clusters WHERE words = ?", (query.words,)).fetchone()
            cluster = found[0] if found else cluster
        return database.execute("INSERT INTO queries VALUES (NULL, ?, ?)", (query.words, cluster)).lastrowid or 0
    if query.cluster and known[1] != cluster:
        if known[1] != "[]":
            raise BadItem("", f"query {query.words!r} has cluster {cluster} here and {known[1]} before")
        database.execute("UPDATE queries SET cluster = ? WHERE number = ?", (cluster, known[0]))
    return known[0]


def _place(database: sqlite3.Connection, split: str, by_hash: bool) -> None:
    """Give every item its place: by hash, or in the order of the files. In a train split roles mean nothing."""
    database.create_function("order_key", 2, order_key, deterministic=True)
    role, key = "'both'" if split == "train" else "role", "order_key(domain, id)" if by_hash else "number"
    database.execute(f"INSERT INTO places SELECT ?, domain, {role}, {key}, number FROM items", (split,))


def _cut(database: sqlite3.Connection, split: str, shard_samples: int) -> None:
    """Cut each (domain, role) of the split into shards of equal size, give or take one sample."""
    number = 0
    groups = "SELECT domain, role, COUNT(*) FROM places WHERE split = ? GROUP BY domain, role ORDER BY domain, role"
    for domain, role, count in database.execute(groups, (split,)).fetchall():
        shards = max(-(-count // shard_samples), min(SHARDS_WANTED, count // min(FEWEST_SAMPLES, shard_samples)))
        starts = [count * shard // shards for shard in range(shards + 1)]
        name = domain if role == "both" else f"{domain}.{role}"
        places = "SELECT key, item FROM places WHERE split = ? AND domain = ? AND role = ? ORDER BY key, item"
        shard = 0
        for position, (key, item) in enumerate(database.execute(places, (split, domain, role))):
            if position == starts[shard]:
                samples = starts[shard + 1] - starts[shard]
                row = (split, number, f"{name}-{shard:06d}", domain, role, key, item, samples)
                database.execute("INSERT INTO shards VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
                number, shard = number + 1, shard + 1
