"""Queries as items of their own, so that what people type can be searched with.

Every split but train gets an item of domain query and role query for each query that a document of the split (role document or both)
answers: one that it carries, or the one that it was gathered by. A query item has its words as title, no media and no queries of its
own, so training never draws it. A split that lists items of domain query keeps those alone. A corpus whose queries are nothing that people
type (`pipeline.sources.queries_are_links`) gets none.
"""

from __future__ import annotations

import hashlib
import sqlite3
import unicodedata

from pipeline.item import Item
from pipeline.sources import Entry, Source

LONGEST_ID = 256
"""Bytes. Dumps and ranked lists give every id the room of the longest."""


def query_item_id(words: str) -> str:
    """The id of the item of the query `words`: the words themselves, so that ground truth can be written by hand and lists can be read,
    or "~" and a hash where they are longer than `LONGEST_ID`, break a line or hold a tab, or begin with "~" themselves."""
    breaks = any(unicodedata.category(letter) in ("Cc", "Zl", "Zp") for letter in words)
    if breaks or words.startswith("~") or len(words.encode()) > LONGEST_ID:
        return "~" + hashlib.blake2b(words.encode(), digest_size=16).hexdigest()
    return words


def place_queries(database: sqlite3.Connection, split: str) -> None:
    """Fill table `answers` of the listing (`pipeline.packing.listing`) for `split`, and add and place an item for each query in it."""
    if database.execute("SELECT 1 FROM places WHERE split = ? AND domain = 'query' LIMIT 1", (split,)).fetchone():
        return
    database.create_function("query_item_id", 1, query_item_id, deterministic=True)
    for links in ("links", "gathered"):
        database.execute(
            f"INSERT OR IGNORE INTO answers SELECT {links}.query, {links}.item FROM places CROSS JOIN {links} ON {links}.item = places.item "
            "WHERE places.split = ? AND places.role IN ('both', 'document')",
            (split,),
        )
    database.execute(
        "INSERT INTO items SELECT NULL, 'query', query_item_id(words), 'query', '{}', words, '', 0 "
        "FROM (SELECT DISTINCT query FROM answers) CROSS JOIN queries ON queries.number = query ORDER BY query"
    )
    database.execute("INSERT INTO places SELECT ?, domain, role, number, number FROM items WHERE domain = 'query' AND file = ''", (split,))


def read_item(source: Source, entry: Entry) -> Item:
    """The item of a listed entry: of a query that was placed here (no file lists it, its payload is its words), or read by `source`.

    Raises BadItem naming the file at fault.
    """
    if entry.domain == "query" and not entry.file:
        return Item(entry.id, entry.domain, entry.role, {"title": entry.payload})
    return source.read(entry)
