"""Two results over the same queries, side by side: every metric's difference, its interval, its p-value, and the queries that changed most.

Legend: E queries that both have judged, M metrics.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evaluate.ids import IdTable
from evaluate.judging.ground_truth import GroundTruth
from evaluate.judging.judged import judge
from evaluate.judging.judged_file import JudgedFile, judged_of, read_judged
from evaluate.judging.metrics import CUTOFFS
from evaluate.judging.per_query import PerQuery, per_query
from evaluate.judging.resample import bootstrap_difference, randomisation_test
from evaluate.ranked import Ranked

CONFIDENCE = 0.95
LOWER_IS_BETTER = ("median_rank",)


@dataclass(frozen=True)
class Paired:
    """a and b: the metrics of the E queries in the same order, of lists of the same depth; `rows` of each are rows of that side's lists.
    ids: theirs, UTF-8 bytes.

    only_a, only_b: how many evaluated queries one side alone has; they are left out.
    """

    ids: np.ndarray
    a: PerQuery
    b: PerQuery
    only_a: int
    only_b: int


def open_result(folder: str | Path, truth: GroundTruth | None = None) -> JudgedFile:
    """What evaluate.report found in the result folder `folder`: its judged.h5, or its ranked.h5 judged by `truth` where one is given.

    Raises ValueError where neither is to be had, and where the two are of different lists.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; give one that evaluate.report wrote")
    if truth is not None:
        ranked = Ranked(folder / "ranked.h5")
        return judged_of(ranked, judge(ranked, truth), "")
    if not (folder / "judged.h5").is_file():
        raise ValueError(f"{folder}: no judged.h5, which evaluate.report writes; report again, or give --ground_truth and it is made of ranked.h5")
    kept = read_judged(folder / "judged.h5")
    if (folder / "ranked.h5").is_file():
        ranked = Ranked(folder / "ranked.h5")
        # Lists of an older program have no checksum: their depth and their queries may still tell.
        about = kept.attributes
        same = (ranked.attributes.lists, ranked.depth) == (about.lists, about.depth) and np.array_equal(ranked.query_ids, kept.query_ids)
        if not same:
            raise ValueError(f"{folder}: judged.h5 was made of other lists than ranked.h5 beside it holds; report again")
    return kept


def pair(a: JudgedFile, b: JudgedFile, names: tuple[str, str]) -> Paired:
    """The queries that both have evaluated, by id; `names` are what messages call the two.

    Longer lists of one side are cut to the depth K of the other's: K + 1 stands for what was not found, and average precision and reciprocal
    rank look at K results, so that two depths would make a difference where there is none.

    Raises ValueError for two tasks, two ground truths, or no query in common.
    """
    if a.attributes.task != b.attributes.task:
        raise ValueError(f"{names[0]} is of {a.attributes.task}, {names[1]} of {b.attributes.task}: compare two results of one task")
    docs, depth = (min(getattr(side.attributes, name) for side in (a, b)) for name in ("candidates", "depth"))
    cutoffs = [k for k in (1, 5, *CUTOFFS) if k <= min(docs, depth)]
    ours, theirs = (per_query(side.found.cut(depth), docs, cutoffs) for side in (a, b))
    ids, other_ids = a.query_ids[ours.rows], b.query_ids[theirs.rows]
    places = IdTable(other_ids).places(ids)
    common = np.flatnonzero(places >= 0)
    if not len(common):
        raise ValueError(f"no query is in both: {names[0]} has {ids[0].decode()!r} and others, {names[1]} {other_ids[0].decode()!r} and others")
    ours, theirs = ours.at(common), theirs.at(places[common])
    if len(differ := np.flatnonzero(a.truth[ours.rows] != b.truth[theirs.rows])):
        place = differ[0]
        counts = a.found.relevant[ours.rows[place]], b.found.relevant[theirs.rows[place]]
        in_b = counts[1] if counts[0] != counts[1] else f"{counts[1]} others"
        raise ValueError(
            f"two ground truths: query {ids[common][place].decode()!r} has {counts[0]} relevant documents in {names[0]}, {in_b} in {names[1]} "
            f"({len(differ)} such queries); report both with one, and with the same --searched_only"
        )
    return Paired(ids[common], ours, theirs, len(ids) - len(common), len(other_ids) - len(common))


def differences(paired: Paired, resamples: int, tosses: int, seed: int) -> dict[str, dict[str, Any]]:
    """{metric: {"a", "b", "difference" (b - a), "interval" (bootstrap, 95 %), "p" (paired randomisation test)}}; that of median_rank has
    "a_is_lower_bound" and "b_is_lower_bound", too: what metrics.json calls median_rank_is_lower_bound.

    Args:
        resamples: draws of the queries behind the intervals.
        tosses: of the randomisation test.
    """
    a, b = paired.a.metrics(), paired.b.metrics()
    intervals = bootstrap_difference(paired.a, paired.b, resamples, seed, CONFIDENCE)
    p = randomisation_test(paired.a, paired.b, tosses, seed)
    values: dict[str, dict[str, Any]] = {
        name: {"a": a[name], "b": b[name], "difference": b[name] - a[name], "interval": list(intervals[name]), "p": p[name]}
        for name in a
        if name in intervals
    }
    values["median_rank"] |= {f"{side}_is_lower_bound": own["median_rank_is_lower_bound"] for side, own in (("a", a), ("b", b))}
    return values


def changed_most(paired: Paired, by: str, number: int) -> tuple[list[int], list[int]]:
    """(places of the `number` queries that gained most from a to b by the metric `by`, those that lost most); the rank of the first relevant
    document decides between equals, then the order of the queries. Queries that did not change are in neither.

    Raises ValueError for a metric that is not there.
    """
    if by not in paired.a.names:
        raise ValueError(f"--by {by}: choose among {', '.join(paired.a.names)}")
    gain = paired.b.column(by) - paired.a.column(by)
    nearer = paired.a.first - paired.b.first
    order = np.lexsort((np.arange(len(gain)), -nearer, -gain))
    best = order[: (gain > 0).sum()][:number]
    order = np.lexsort((np.arange(len(gain)), nearer, gain))
    worst = order[: (gain < 0).sum()][:number]
    return best.tolist(), worst.tolist()
