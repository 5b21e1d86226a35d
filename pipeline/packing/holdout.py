"""A validation split out of training clips, for corpora that have none of their own.

Held-out clips leave split train and form split val together with goods, which stay in train as well: a product is known, its clip is
new. Which clips are held out follows from their ids alone.
"""

from __future__ import annotations

import sqlite3

from pipeline.packing.truth import write_specific_truth

_SHARES_A_QUERY = (
    "SELECT 1 FROM links AS own CROSS JOIN links AS other ON other.query = own.query CROSS JOIN items ON items.number = other.item "
    "WHERE own.item = ? AND items.domain = ? LIMIT 1"
)


def hold_out(database: sqlite3.Connection, videos: int, goods: int) -> None:
    """Move `videos` clips of the listed split train into split val and copy goods there, with ground truth.

    Clips are the first by order key among those that share a query with a good. Goods are all that share a query with a held-out clip,
    then others by order key until there are `goods`. Ground truth: `pipeline.packing.truth`.

    Raises ValueError where the clips are too few.
    """
    database.execute("CREATE INDEX IF NOT EXISTS links_by_query ON links (query)")
    held_out = 0
    clips = database.execute("SELECT role, key, item FROM places WHERE split = 'train' AND domain = 'video' ORDER BY key, item")
    database.execute("CREATE TEMP TABLE held_out (role TEXT, key INTEGER, item INTEGER PRIMARY KEY)")
    for role, key, item in clips:
        if held_out == videos:
            break
        if database.execute(_SHARES_A_QUERY, (item, "goods")).fetchone():
            database.execute("INSERT INTO held_out VALUES (?, ?, ?)", (role, key, item))
            held_out += 1
    clips.close()  # SQLite drops no table under an open query
    (listed,) = database.execute("SELECT COUNT(*) FROM places WHERE split = 'train' AND domain = 'video'").fetchone()
    if listed == 0:
        raise ValueError("the train split has no clip (domain video); training needs goods and clips, and holding clips out needs clips")
    if held_out < videos or listed == videos:
        raise ValueError(
            f"--holdout_videos {videos}: the train split has {listed} clips, and clips to hold out need a query that goods share "
            f"(found {held_out}); at least one clip must stay. Hold out fewer"
        )
    database.executescript(
        "INSERT INTO places SELECT 'val', 'video', role, key, item FROM held_out;"
        "DELETE FROM places WHERE split = 'train' AND domain = 'video' AND item IN (SELECT item FROM held_out);"
        "INSERT INTO places SELECT DISTINCT 'val', 'goods', 'both', order_key('goods', good.id), good.number "
        "FROM held_out CROSS JOIN links AS asked ON asked.item = held_out.item CROSS JOIN links AS answered ON answered.query = asked.query "
        "CROSS JOIN items AS good ON good.number = answered.item AND good.domain = 'goods';"
        "DROP TABLE held_out;"
    )
    (chosen,) = database.execute("SELECT COUNT(*) FROM places WHERE split = 'val' AND domain = 'goods'").fetchone()
    database.execute(
        "INSERT OR IGNORE INTO places SELECT 'val', domain, role, key, item FROM places AS good "
        "WHERE split = 'train' AND domain = 'goods' AND role = 'both' "
        "AND NOT EXISTS (SELECT 1 FROM places WHERE split = 'val' AND domain = 'goods' AND role = 'both' AND key = good.key AND item = good.item) "
        "ORDER BY key, item LIMIT ?",
        (max(goods - chosen, 0),),
    )
    write_specific_truth(database, "val")
