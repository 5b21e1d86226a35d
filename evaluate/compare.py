"""Compare two results of one task, query by query: is B better than A, by how much, for which queries, and could it be chance?

    python -m evaluate.compare A B [--out FOLDER] [--cards FOLDER]

A and B are folders that evaluate.report wrote (judged.h5 in them; ranked.h5 for the documents on the page). Prints a table and writes
FOLDER/compare.json and FOLDER/compare.html (default: B/compare). A positive difference means that B has more; for the median rank less
is better. Queries that one side alone has evaluated are counted and left out, and lists are cut to the depth of the shorter ones. Words and
frames of the queries on the page:

    python -m pipeline.cards --shards SHARDS/test --comparison FOLDER --out CARDS      then the same command again with --cards CARDS
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from evaluate.judging.ground_truth import read_ground_truth
from evaluate.judging.paired import CONFIDENCE, Paired, changed_most, differences, open_result, pair
from evaluate.pages.cards import Cards
from evaluate.pages.compare_page import groups_shown, items_shown, remarks, render_comparison
from evaluate.pages.numbers import METRIC_LABELS
from launch.command import CommandParser, run_command
from launch.files import whole_file, write_json
from launch.logs import say


def compare(
    a: str | Path,
    b: str | Path,
    out: str | Path,
    ground_truth: str | Path | None = None,
    released_ids: bool = False,
    by: str = "map",
    shown: int = 12,
    resamples: int = 1000,
    tosses: int = 10000,
    seed: int = 0,
    cards: str | Path | None = None,
) -> dict[str, Any]:
    """Write compare.json and compare.html to the folder `out`; returns what compare.json holds.

    Args:
        a, b: result folders.
        ground_truth: judge both by it anew, from their ranked.h5; default: as evaluate.report did.
        released_ids: it has the Real20M spelling of ids.
        by: metric that says which queries changed most.
        shown: how many of those that gained, and as many of those that lost.
        resamples: draws of the queries behind the 95 % intervals.
        tosses: of the paired randomisation test behind the p-values.
        seed: draws both.
        cards: folder of cards (`evaluate/pages/cards.py`) for the page.

    Raises ValueError where the two do not belong together.
    """
    if resamples < 1 or tosses < 1 or shown < 0:
        raise ValueError(f"--resamples {resamples} --tosses {tosses} --shown {shown}: at least 1 draw of each, and 0 or more queries")
    truth = None if ground_truth is None else read_ground_truth(ground_truth, released_ids)
    results = tuple(open_result(folder, truth) for folder in (a, b))
    paired = pair(results[0], results[1], (str(a), str(b)))
    gained, lost = changed_most(paired, by, shown)
    change = np.sign(paired.b.column(by) - paired.a.column(by))
    said: dict[str, Any] = {
        "task": results[0].attributes.task,
        "split": results[0].attributes.split,
        "a": _about(a, results[0].attributes),
        "b": _about(b, results[1].attributes),
        "depth": paired.a.depth,
        "other_documents": results[0].attributes.corpus != results[1].attributes.corpus,
        "queries": len(paired.ids),
        "queries_only_a": paired.only_a,
        "queries_only_b": paired.only_b,
        "metrics": differences(paired, resamples, tosses, seed),
        "by": by,
        "better": int((change > 0).sum()),
        "worse": int((change < 0).sum()),
        "same": int((change == 0).sum()),
        "most_gained": [_query(paired, place, by) for place in gained],
        "most_lost": [_query(paired, place, by) for place in lost],
        "confidence": CONFIDENCE,
        "resamples": resamples,
        "tosses": tosses,
        "seed": seed,
    }
    groups = groups_shown(said, paired, results, (gained, lost))
    said["shown"] = items_shown(groups)
    write_json(Path(out) / "compare.json", said)
    with whole_file(Path(out) / "compare.html") as file:
        file.write(render_comparison(said, groups, Cards(cards)))
    return said


def table(said: Mapping[str, Any]) -> str:
    """The metrics of a comparison as text, a line each."""
    lines = [f"{'':<14}{'A':>10}{'B':>10}{'B - A':>10}   {'95 % interval':<20}{'p':>7}"]
    for name, own in said["metrics"].items():
        digits = 1 if name == "median_rank" else 4
        low, high = own["interval"]
        interval = f"{low:+.{digits}f} to {high:+.{digits}f}"
        sides = (f"{'≥ ' if own.get(f'{side}_is_lower_bound') else ''}{own[side]:.{digits}f}" for side in "ab")
        numbers = "".join(f"{text:>10}" for text in sides) + f"{own['difference']:>+10.{digits}f}"
        lines.append(f"{METRIC_LABELS.get(name, name):<14}{numbers}   {interval:<20}{own['p']:>7.4f}")
    return "\n".join(lines)


def _about(folder: str | Path, attributes: Any) -> dict[str, Any]:
    """Where a side comes from; top_k are the results a query that its lists have, `depth` of the comparison those that it looks at."""
    own = {"split": attributes.split, "checkpoint": attributes.checkpoint, "docs": attributes.docs, "top_k": attributes.depth}
    return {"folder": str(folder), **own}


def _query(paired: Paired, place: int, by: str) -> dict[str, Any]:
    """{"query", "a", "b"}: the metric and the rank of the first relevant document (None: not among the first `depth`) on either side."""
    sides = {
        name: {by: float(side.column(by)[place]), "first_rank": int(side.first[place]) if side.first[place] <= side.depth else None}
        for name, side in (("a", paired.a), ("b", paired.b))
    }
    return {"query": paired.ids[place].decode(), **sides}


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and compare."""
    parser = CommandParser("python -m evaluate.compare", __doc__)
    parser.add_argument("a", metavar="A", help="result folder, e.g. of the older run")
    parser.add_argument("b", metavar="B", help="result folder to compare with it")
    parser.add_argument("--out", metavar="FOLDER", help="where compare.json and compare.html go (default: B/compare)")
    parser.add_argument("--ground_truth", metavar="FILE", help="judge both by it anew, from their ranked.h5 (default: as they were reported)")
    parser.add_argument("--released_ids", action="store_true", help="the ground truth has the Real20M spelling of ids")
    parser.add_argument("--by", default="map", metavar="METRIC", help="which queries changed most is told by it (default: %(default)s)")
    parser.add_argument("--shown", type=int, default=12, help="queries shown that gained most, and as many that lost (default: %(default)s)")
    parser.add_argument("--cards", metavar="FOLDER", help="words and pictures of the items shown, as pipeline.cards writes them (default: ids only)")
    parser.add_argument("--resamples", type=int, default=1000, help="draws behind the 95 %% intervals (default: %(default)s)")
    parser.add_argument("--tosses", type=int, default=10000, help="draws of the paired randomisation test (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of both (default: %(default)s)")
    given = vars(parser.parse_args(argv))
    out = given.pop("out") or Path(given["b"]) / "compare"
    said = compare(out=out, **given)
    left_out = [f"{said[f'queries_only_{side}']} in {side.upper()} alone" for side in "ab" if said[f"queries_only_{side}"]]
    say(f"{said['task']}: A = {said['a']['folder']}, B = {said['b']['folder']}")
    say(f"{said['queries']} queries in both{f' ({chr(44).join(left_out)}: left out)' if left_out else ''}")
    for line in remarks(said):
        say(line)
    say(f"\n{table(said)}\n")
    say(f"by {said['by']}: {said['better']} queries better in B, {said['worse']} worse, {said['same']} the same -> {Path(out) / 'compare.html'}")


if __name__ == "__main__":
    run_command(main)
