"""Report: ranked lists and ground truth in, numbers and a page for people out.

    python -m evaluate.report --ranked OUT/ranked.h5 --ground_truth FILE --out OUT [--cards FOLDER] [--split test]

writes OUT/metrics.json, OUT/recall.svg and OUT/report.html (one file with everything inside).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evaluate.curve import recall_svg
from evaluate.examples import examples, pick
from evaluate.ground_truth import GroundTruth, read_ground_truth
from evaluate.judged import judge, summary
from evaluate.page import Cards, render
from evaluate.ranked import Ranked
from launch.command import CommandParser, run_command
from launch.files import whole_file, write_json
from launch.logs import say


def report(
    ranked: Ranked,
    truth: GroundTruth,
    out: str | Path,
    cards: str | Path | None = None,
    split: str = "",
    shown_queries: int = 24,
    seed: int = 0,
    cutoffs: Sequence[int] | None = None,
) -> dict[str, Any]:
    """Write metrics.json, recall.svg and report.html to the folder `out`; returns what metrics.json holds.

    Args:
        cards: folder of cards (`evaluate/page.py`); items are shown by their ids alone without it.
        split: name of the split, for the reader.
        shown_queries: how many queries the page shows, half hits and half misses where there are enough.
        seed: draws them.
        cutoffs: k of recall@k; default 1, 5, 10 ... 1000 where as many documents were searched.

    Raises ValueError where the lists are too short for a cutoff, or no query has a relevant document.
    """
    out = Path(out)
    judged = judge(ranked, truth)
    metrics = summary(ranked, judged, split, cutoffs)
    write_json(out / "metrics.json", metrics)
    svg = recall_svg(judged, ranked.attributes.docs)
    chosen = examples(ranked, truth, judged, pick(judged, shown_queries, seed))
    for name, text in (("recall.svg", svg), ("report.html", render(metrics, svg, chosen, Cards(cards), seed))):
        with whole_file(out / name) as file:
            file.write(text)
    return metrics


def shown(ranked: Ranked, truth: GroundTruth, number: int = 24, seed: int = 0) -> dict[str, list[str]]:
    """{"queries": ids, "docs": ids} of the items that the page shows for the same `number` and `seed`: those that need cards."""
    judged = judge(ranked, truth)
    chosen = examples(ranked, truth, judged, pick(judged, number, seed))
    documents = {document: None for example in chosen for document in example.documents}
    return {"queries": [example.id for example in chosen], "docs": list(documents)}


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and report."""
    parser = CommandParser("python -m evaluate.report", __doc__)
    parser.add_argument("--ranked", required=True, metavar="FILE", help="ranked.h5 that evaluate.search wrote")
    parser.add_argument("--ground_truth", required=True, metavar="FILE", help="`query id TAB relevant ids` lines or TREC qrels")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="where metrics.json, recall.svg and report.html go")
    parser.add_argument("--cards", metavar="FOLDER", help="words and pictures of the items shown, as pipeline.cards writes them (default: ids only)")
    parser.add_argument("--split", default="", help="name of the split, for the reader")
    parser.add_argument("--shown", type=int, default=24, metavar="QUERIES", help="queries on the page, half of them misses (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="draws the queries on the page (default: %(default)s)")
    parser.add_argument("--cutoffs", type=int, nargs="+", metavar="K", help="k of recall@k (default: 1 5 10 20 50 ... 1000, up to the documents)")
    parser.add_argument("--released_ids", action="store_true", help="the ground truth has the Real20M spelling of ids: 3000003_0, 1000001.jpg")
    given = parser.parse_args(argv)
    truth = read_ground_truth(given.ground_truth, given.released_ids)
    metrics = report(Ranked(given.ranked), truth, given.out, given.cards, given.split, given.shown, given.seed, given.cutoffs)
    numbers = "  ".join(f"{name} {metrics[name]:.4f}" for name in metrics if name.startswith(("recall@", "hit@")))
    say(f"{metrics['task']}: {numbers}  median rank {metrics['median_rank']:g}")
    say(f"{metrics['queries_evaluated']} of {metrics['queries']} queries, {metrics['docs']} documents -> {Path(given.out) / 'report.html'}")


if __name__ == "__main__":
    run_command(main)
