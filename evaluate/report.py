"""Report: ranked lists and ground truth in, numbers and a page for people out.

    python -m evaluate.report --ranked OUT/ranked.h5 --ground_truth FILE --out OUT [--cards FOLDER] [--split test] [--by category]

writes OUT/metrics.json, OUT/recall.svg, OUT/scores.svg, OUT/report.html and OUT/judged.h5, which evaluate.compare reads. The page is one file
with everything inside; where more than --queries_per_page queries are shown they are in pages of their own, OUT/report/page-001.html and on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evaluate.judging.ground_truth import GroundTruth, read_ground_truth
from evaluate.judging.groups import Groups
from evaluate.judging.judged import judge, summary
from evaluate.judging.judged_file import judged_of, write_judged
from evaluate.judging.per_query import PerQuery, per_query
from evaluate.judging.resample import bootstrap
from evaluate.pages.curve import recall_svg
from evaluate.pages.drawing import inside_page
from evaluate.pages.examples import choose, examples
from evaluate.pages.histogram import scores_svg
from evaluate.pages.report_page import write_report
from evaluate.pages.scores import best_scores
from evaluate.ranked import Ranked
from launch.command import CommandParser, run_command
from launch.files import whole_file, write_json
from launch.logs import say

CONFIDENCE = 0.95
QUERIES_PER_PAGE = 60
MOST_MB = 50.0
SAYS = {
    "recall": "Recall and hit rate within the first k results, over k; the table beside it has the numbers",
    "scores": "Two histograms over the queries: the score of the best relevant document, and of the best irrelevant one",
}
"""The figures in words, for those who do not see them."""


def report(
    ranked: Ranked,
    truth: GroundTruth,
    out: str | Path,
    cards: str | Path | None = None,
    split: str = "",
    shown_queries: int = 24,
    seed: int = 0,
    cutoffs: Sequence[int] | None = None,
    *,
    by: str | None = None,
    resamples: int = 1000,
    searched_only: bool = False,
    worst: int | None = None,
    queries_per_page: int = QUERIES_PER_PAGE,
    most_mb: float = MOST_MB,
) -> dict[str, Any]:
    """Write metrics.json, recall.svg, scores.svg, the page or pages and judged.h5 to the folder `out`; returns what metrics.json holds.

    Args:
        cards: folder of cards (`evaluate/pages/cards.py`); items are shown by their ids alone without it.
        split: name of the split, for the reader.
        shown_queries: how many queries are shown, half hits and half misses where there are enough.
        seed: draws them, and the resamples.
        cutoffs: k of recall@k; default 1, 5, 10 ... 1000 where as many documents were searched.
        by: label by which queries are grouped (`evaluate/judging/groups.py`); default category where the lists have it, "" for none.
        resamples: draws of the queries behind the 95 % intervals; 0 = no intervals.
        searched_only: leave relevant documents that were not searched out of the denominators.
        worst: how many of the worst queries are shown beside them; default: half as many.
        queries_per_page: more queries than that become pages of so many.
        most_mb: bound of all pictures together, in MB; further ones are left out, and the page says how many.

    Raises ValueError, before anything is written, where the lists are too short for a cutoff, lists and ground truth do not belong together
    (`judge`), or something else is where the pages go.
    """
    out = Path(out)
    if resamples < 0:
        raise ValueError(f"--resamples {resamples}: 0 (no intervals) or more")
    if shown_queries < 0:
        raise ValueError(f"--shown {shown_queries}: 0 queries or more")
    if queries_per_page < 1 or not 0 <= most_mb < math.inf:
        raise ValueError(f"--queries_per_page {queries_per_page} --most_mb {most_mb:g}: at least 1 query, and a finite number of MB, 0 or more")
    if by is None:
        by = "category" if "category" in ranked.label_keys() else ""
    judged = judge(ranked, truth, by or None, searched_only)
    values = per_query(judged.found, ranked.candidates, cutoffs)
    metrics = summary(ranked, judged, split, values=values)
    if searched_only:
        metrics["searched_only"] = True
    if resamples:
        metrics |= {"intervals": _intervals(values, resamples, seed), "confidence": CONFIDENCE, "resamples": resamples, "seed": seed}
    if judged.groups is not None:
        metrics["by"] = _by_group(judged.groups, values, resamples, seed)
    best = best_scores(ranked, judged.found)
    docs = None if ranked.attributes.candidates else ranked.attributes.docs
    svgs = {"recall": recall_svg(judged, docs), "scores": scores_svg(best, judged.found.evaluated)}
    # The page comes first: cards, pictures or the folder of pages may be wrong, and then nothing is written.
    write_report(
        out,
        metrics,
        {name: inside_page(svg, name, SAYS[name]) for name, svg in svgs.items()},
        choose(judged, best, shown_queries, worst, seed),
        lambda rows: examples(ranked, truth, judged, rows),
        cards,
        queries_per_page,
        round(1e6 * most_mb),
    )
    write_json(out / "metrics.json", metrics)
    write_judged(out / "judged.h5", judged_of(ranked, judged, split))
    for name, svg in svgs.items():
        with whole_file(out / f"{name}.svg") as file:
            file.write(svg)
    return metrics


def _by_group(groups: Groups, values: PerQuery, resamples: int, seed: int) -> dict[str, Any]:
    """What metrics.json holds by category: {"label", "of", "queries_without", "groups": {name: {"queries", metrics, "intervals"}}}."""
    of_group = groups.of_values(values)
    rows: dict[str, Any] = {}
    for name, own in of_group.items():
        rows[name] = {"queries": len(own.rows), **own.metrics()}
        if resamples:
            rows[name]["intervals"] = _intervals(own, resamples, seed)
    without = len(values.rows) - int(np.isin(values.rows, groups.query).sum())
    return {"label": groups.by, "of": groups.of, "queries_without": without, "groups": rows}


def _intervals(values: PerQuery, resamples: int, seed: int) -> dict[str, list[float]]:
    return {name: list(ends) for name, ends in bootstrap(values, resamples, seed, CONFIDENCE).items()}


def shown(ranked: Ranked, truth: GroundTruth, number: int = 24, seed: int = 0, worst: int | None = None) -> dict[str, list[str]]:
    """{"queries": ids, "docs": ids} of the items that a report shows for the same `number`, `seed` and `worst`: those that need cards."""
    judged = judge(ranked, truth)
    rows = [row for group in choose(judged, best_scores(ranked, judged.found), number, worst, seed) for row in group.rows]
    chosen = examples(ranked, truth, judged, rows)
    documents = {document: None for example in chosen for document in example.documents}
    return {"queries": [example.id for example in chosen], "docs": list(documents)}


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and report."""
    parser = CommandParser("python -m evaluate.report", __doc__)
    parser.add_argument("--ranked", required=True, metavar="FILE", help="ranked.h5 that evaluate.search wrote")
    parser.add_argument("--ground_truth", required=True, metavar="FILE", help="`query id TAB relevant ids` lines or TREC qrels")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="where metrics.json, the figures, report.html and judged.h5 go")
    parser.add_argument("--cards", metavar="FOLDER", help="words and pictures of the items shown, as pipeline.cards writes them (default: ids only)")
    parser.add_argument("--split", default="", help="name of the split, for the reader")
    parser.add_argument("--shown", type=int, default=24, metavar="QUERIES", help="queries shown, half of them misses (default: %(default)s)")
    parser.add_argument("--worst", type=int, metavar="QUERIES", help="the worst queries shown beside them (default: half as many)")
    parser.add_argument(
        "--queries_per_page", type=int, default=QUERIES_PER_PAGE, help="more queries than that become pages of so many (default: %(default)s)"
    )
    parser.add_argument("--most_mb", type=float, default=MOST_MB, help="bound of all pictures together, in MB (default: %(default)g)")
    parser.add_argument("--seed", type=int, default=0, help="draws the queries shown, and resamples (default: %(default)s)")
    parser.add_argument("--cutoffs", type=int, nargs="+", metavar="K", help="k of recall@k (default: 1 5 10 20 50 ... 1000, up to the documents)")
    parser.add_argument("--by", metavar="LABEL", help="numbers for each value of a label, e.g. category or category:2 (two levels); '' for none")
    parser.add_argument("--resamples", type=int, default=1000, help="draws behind the 95 %% intervals, 0 for none (default: %(default)s)")
    parser.add_argument("--searched_only", action="store_true", help="leave relevant documents that were not searched out of the denominators")
    parser.add_argument("--released_ids", action="store_true", help="the ground truth has the Real20M spelling of ids: 3000003_0, 1000001.jpg")
    given = parser.parse_args(argv)
    metrics = report(
        Ranked(given.ranked),
        read_ground_truth(given.ground_truth, given.released_ids),
        given.out,
        given.cards,
        given.split,
        given.shown,
        given.seed,
        given.cutoffs,
        by=given.by,
        resamples=given.resamples,
        searched_only=given.searched_only,
        worst=given.worst,
        queries_per_page=given.queries_per_page,
        most_mb=given.most_mb,
    )
    numbers = "  ".join(f"{name} {metrics[name]:.4f}" for name in metrics if name.startswith(("recall@", "hit@")))
    bound = "≥ " if metrics["median_rank_is_lower_bound"] else ""
    say(f"{metrics['task']}: {numbers}  median rank {bound}{metrics['median_rank']:g}")
    if missing := metrics["relevant_not_in_docs"]:
        what = "left out" if given.searched_only else "they count as not found"
        say(f"{missing:,} relevant pairs (query, document) point to documents that were not searched: {what}")
    say(f"{metrics['queries_evaluated']} of {metrics['queries']} queries, {metrics['docs']} documents -> {Path(given.out) / 'report.html'}")


if __name__ == "__main__":
    run_command(main)
