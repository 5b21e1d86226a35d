"""Ground truth in the listing: from a corpus' files, or from the queries by which items were found.

Tables: see `pipeline.packing.listing`. Kinds: "file"; "shared queries"; "most specific shared query" for held-out clips; "found by the query"
where a query itself is searched with.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping

from pipeline.packing.queries import query_item_id
from pipeline.sources import TASKS


def write_truth(database: sqlite3.Connection, split: str, files: Mapping[str, Iterator[tuple[str, list[str]]]]) -> None:
    """Keep what a corpus' ground-truth files say. A query on several lines has the relevant ids of all of them."""
    for task, lines in files.items():
        _write(database, split, task, "file", ((query, document) for query, documents in lines for document in documents))


def write_shared_truth(database: sqlite3.Connection, split: str) -> None:
    """For each task between domains of the split that no file covers: relevant is what shares a query with what is searched with."""
    database.execute("CREATE INDEX IF NOT EXISTS links_by_query ON links (query)")
    present = {domain for (domain,) in database.execute("SELECT DISTINCT domain FROM places WHERE split = ?", (split,))}
    for task, (searched_with, searched_among) in _uncovered(database, split).items():
        if {searched_with, searched_among} <= present:
            pairs = database.execute(
                "SELECT DISTINCT asking.id, answer.id FROM items AS asking CROSS JOIN links AS asked ON asked.item = asking.number "
                "CROSS JOIN links AS answered ON answered.query = asked.query CROSS JOIN items AS answer ON answer.number = answered.item "
                "WHERE asking.domain = ? AND asking.role IN ('both', 'query') AND answer.domain = ? AND answer.role IN ('both', 'document') "
                "ORDER BY asking.number, answer.number",
                (searched_with, searched_among),
            )
            _write(database, split, task, "shared queries", pairs)


def write_specific_truth(database: sqlite3.Connection, split: str) -> None:
    """For clips in split `split`: relevant are the goods of the clip's most specific query, the one with the fewest goods in the
    corpus (of all such queries where several have equally few). The rule is ours, not a published one: a clip is found by broad
    queries too ("milk"), whose goods are mostly other products.
    """
    database.executescript(
        "CREATE TEMP TABLE goods_of_query (query INTEGER PRIMARY KEY, goods INTEGER);"
        "INSERT INTO goods_of_query SELECT query, COUNT(*) FROM links CROSS JOIN items ON items.number = links.item "
        "WHERE domain = 'goods' GROUP BY query;"
        "CREATE TEMP TABLE relevant (video INTEGER, goods INTEGER, PRIMARY KEY (video, goods)) WITHOUT ROWID;"
    )
    database.execute(
        "INSERT OR IGNORE INTO relevant SELECT clip.item, good.number "
        "FROM places AS clip CROSS JOIN links AS asked ON asked.item = clip.item "
        "CROSS JOIN goods_of_query ON goods_of_query.query = asked.query CROSS JOIN links AS answered ON answered.query = asked.query "
        "CROSS JOIN items AS good ON good.number = answered.item AND good.domain = 'goods' "
        "WHERE clip.split = ? AND clip.domain = 'video' AND goods_of_query.goods = "
        "(SELECT MIN(goods) FROM links JOIN goods_of_query ON goods_of_query.query = links.query WHERE links.item = clip.item)",
        (split,),
    )
    for searched_with, searched_among in (("video", "goods"), ("goods", "video")):
        pairs = database.execute(
            f"SELECT asking.id, answer.id FROM relevant CROSS JOIN items AS asking ON asking.number = relevant.{searched_with} "
            f"CROSS JOIN items AS answer ON answer.number = relevant.{searched_among} ORDER BY asking.number, answer.number"
        )
        _write(database, split, f"{searched_with}2{searched_among}", "most specific shared query", pairs)
    database.executescript("DROP TABLE goods_of_query; DROP TABLE relevant;")


def write_query_truth(database: sqlite3.Connection, split: str) -> None:
    """For each task that searches with a placed query (`pipeline.packing.queries`) and that no file covers: relevant is what answers the query."""
    database.create_function("query_item_id", 1, query_item_id, deterministic=True)
    for task, (searched_with, searched_among) in _uncovered(database, split).items():
        if searched_with == "query":
            pairs = database.execute(
                "SELECT query_item_id(words), answer.id FROM answers CROSS JOIN queries ON queries.number = answers.query "
                "CROSS JOIN items AS answer ON answer.number = answers.item WHERE answer.domain = ? ORDER BY answers.query, answers.item",
                (searched_among,),
            )
            _write(database, split, task, "found by the query", pairs)


def _uncovered(database: sqlite3.Connection, split: str) -> dict[str, tuple[str, str]]:
    """The tasks that have no ground truth in `split` yet."""
    covered = {task for (task,) in database.execute("SELECT task FROM truth_kinds WHERE split = ?", (split,))}
    return {task: domains for task, domains in TASKS.items() if task not in covered}


def _write(database: sqlite3.Connection, split: str, task: str, kind: str, pairs: Iterable[tuple[str, str]]) -> None:
    number = 0
    for number, (query, document) in enumerate(pairs, 1):
        database.execute("INSERT OR IGNORE INTO truth_queries VALUES (NULL, ?, ?, ?)", (split, task, query))
        (row,) = database.execute("SELECT number FROM truth_queries WHERE split = ? AND task = ? AND id = ?", (split, task, query)).fetchone()
        database.execute("INSERT OR IGNORE INTO truth VALUES (?, ?, ?)", (row, document, number))
    if number:
        database.execute("INSERT INTO truth_kinds VALUES (?, ?, ?)", (split, task, kind))
