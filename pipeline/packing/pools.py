"""Candidates of each query, where a corpus names them: KDD Cup's contest ranks some thirty products a query and no others.

Table: see `pipeline.packing.listing`. A packed split has them in pools/<task>.tsv, in the form of ground truth: `query id TAB candidate ids`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter

from pipeline.sources import Source, pools_of_source


def write_pools(database: sqlite3.Connection, split: str, source: Source) -> None:
    """Keep the pairs of a query and a candidate that the corpus names for the split."""
    for task, pairs in pools_of_source(source, split).items():
        rows = ((split, task, query, document) for query, document in pairs)
        database.executemany("INSERT INTO pools VALUES (NULL, ?, ?, ?, ?)", rows)


def pools_of(database: sqlite3.Connection, split: str, task: str) -> Iterator[tuple[str, list[str]]]:
    """(query id, ids of its candidates, each once), queries and candidates in the order in which they first came."""
    first = "SELECT query AS asking, MIN(number) AS first FROM pools WHERE split = ?1 AND task = ?2 GROUP BY query"
    rows = database.execute(
        f"SELECT query, document FROM pools JOIN ({first}) ON asking = query WHERE split = ?1 AND task = ?2 ORDER BY first, number", (split, task)
    )
    for query, pairs in groupby(rows, key=itemgetter(0)):
        yield query, list(dict.fromkeys(document for _, document in pairs))
