"""Finding the 20 nearest of each item: the loop of MMRA's program, written out, beside one exact search; and that they find the same.

    python -m benchmarks.neighbours [--items 20000] [--dim 1024] [--asked 200] [--rounds 1]

The loop does for every item what the program does: it drops the item from the table, copies the vectors that are left out of their rows into a
matrix, takes cosines with all of them, and sorts all in Python. Its table is a list of dicts; the program's is a pandas frame (--pandas, where
pandas is installed), with an array in each row. Every item costs the same, so the loop is timed on `--asked` of them and multiplied; --asked 0
runs all. The other way is what pipeline.neighbours does with its vectors, for all items. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.metrics.pairwise import cosine_similarity

from launch.command import run_command
from launch.logs import say
from pipeline.bank.search import nearest

KEPT = 20


def by_loop(table: list[dict[str, Any]], asked: range) -> list[list[int]]:
    """Ids of the nearest of each of the items `asked`, the program's way over a list of rows."""
    found = []
    for place in asked:
        own = table[place]
        others = [row for row in table if row["id"] != own["id"]]
        cosines = cosine_similarity([np.array(own["vector"])], np.array([row["vector"] for row in others]))[0].tolist()
        best = sorted(zip(cosines, [row["id"] for row in others]), key=lambda pair: pair[0], reverse=True)
        found.append([id for _, id in best[:KEPT]])
    return found


def by_frame(table: list[dict[str, Any]], asked: range) -> list[list[int]]:
    """The same over a pandas frame."""
    import pandas

    frame = pandas.DataFrame(table)
    found = []
    for place in asked:
        others = frame[frame["id"] != frame["id"][place]].reset_index(drop=True)
        cosines = cosine_similarity([np.array(frame["vector"][place])], np.array(others["vector"].tolist()))[0].tolist()
        best = sorted(zip(cosines, others["id"].tolist()), key=lambda pair: pair[0], reverse=True)
        found.append([id for _, id in best[:KEPT]])
    return found


def measure(items: int, dim: int, asked: int, rounds: int, pandas: bool) -> dict[str, Any]:
    """Seconds of both ways, the best of `rounds`, their ratio, and the share of the neighbours that they have in common."""
    vectors = np.random.default_rng(0).standard_normal((items, dim)).astype(np.float32)
    table = [{"id": place, "vector": row} for place, row in enumerate(vectors)]
    loop = by_frame if pandas else by_loop
    chosen = range(min(asked or items, items))
    listed, loop_s = _timed(lambda: loop(table, chosen), 1)

    def search() -> np.ndarray:
        rows = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        ids = np.arange(items).astype("S")
        return nearest(rows, ids, rows, ids, KEPT)[1]

    found, search_s = _timed(search, rounds)
    common = np.mean([len(set(one) & set(other)) / KEPT for one, other in zip(listed, found[: len(chosen)].tolist())])
    whole_s = loop_s * items / len(chosen)
    return {
        "benchmark": "neighbours",
        "items": items,
        "dim": dim,
        "kept": KEPT,
        "loop": "pandas" if pandas else "list of dicts",
        "loop_items_timed": len(chosen),
        "loop_s": round(whole_s, 1),
        "search_s": round(search_s, 2),
        "ratio": round(whole_s / search_s),
        "in_common": round(float(common), 5),
    }


def _timed(run: Callable[[], Any], rounds: int) -> tuple[Any, float]:
    found, best = None, float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        found = run()
        best = min(best, time.perf_counter() - start)
    return found, best


def main(argv: list[str] | None = None) -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument("--items", type=int, default=20_000, help="items, each asked for its nearest among the others (default: 20000)")
    parser.add_argument("--dim", type=int, default=1024, help="width of their vectors (default: 1024)")
    parser.add_argument("--asked", type=int, default=200, help="items that the loop is timed on, 0 for all (default: 200)")
    parser.add_argument("--rounds", type=int, default=1, help="times that the search is run; the best counts (default: 1)")
    parser.add_argument("--pandas", action="store_true", help="the loop over a pandas frame, as the program has it (pip install pandas)")
    options = parser.parse_args(argv)
    say(json.dumps(measure(options.items, options.dim, options.asked, options.rounds, options.pandas)))


if __name__ == "__main__":
    run_command(main)
