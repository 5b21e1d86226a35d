"""Ranked lists as KDD Cup 2020's contest wanted them: a line a query with its five best products.

python -m evaluate.submission --ranked OUT/ranked.h5 --out submission.csv

query-id,product1,product2,product3,product4,product5
1000032,94567,...
"""

from __future__ import annotations

import csv
from pathlib import Path

from evaluate.ranked import Ranked
from launch.command import CommandParser, run_command
from launch.files import whole_file
from launch.logs import say

PRODUCTS = 5


def write_submission(ranked: Ranked, out: str | Path) -> int:
    """Write the queries' best five documents as CSV, in the order of the lists; returns how many queries there are.

    Raises ValueError naming a query whose list is shorter: the contest's table has no empty cells.
    """
    first = 0
    with whole_file(out) as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["query-id", *(f"product{place}" for place in range(1, PRODUCTS + 1))])
        for block in ranked.blocks():
            for row in block.ranks[:, :PRODUCTS]:
                best = [ranked.doc_ids[place].decode() for place in row if place >= 0]
                query = ranked.query_ids[first].decode()
                if len(best) < PRODUCTS:
                    raise ValueError(f"{ranked.path}: query {query} has {len(best)} results; a submission needs {PRODUCTS} of each query")
                table.writerow([query, *best])
                first += 1
    return first


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and write."""
    parser = CommandParser("python -m evaluate.submission", __doc__)
    parser.add_argument("--ranked", required=True, metavar="FILE", help="ranked.h5 of a search")
    parser.add_argument("--out", required=True, metavar="FILE", help="the CSV file")
    given = parser.parse_args(argv)
    say(f"{write_submission(Ranked(given.ranked), given.out):,} queries -> {given.out}")


if __name__ == "__main__":
    run_command(main)
