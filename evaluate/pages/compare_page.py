"""The comparison of two results as one HTML page: the metrics' differences, and the queries that changed most with the heads of both lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evaluate.ids import decode_ids
from evaluate.judging.judged_file import JudgedFile
from evaluate.judging.paired import LOWER_IS_BETTER, Paired
from evaluate.pages.cards import Cards
from evaluate.pages.numbers import METRIC_LABELS, rank_text
from evaluate.pages.report_page import size_text
from evaluate.pages.template import page_template
from evaluate.ranked import Ranked
from evaluate.search import domains_of

RESULTS_SHOWN = 5


Head = Sequence[tuple[str, float, bool]]
"""The first results of one side's list: (document, score, whether it is relevant or stands for one that is)."""


Group = tuple[str, list[tuple[Mapping[str, Any], list[Head | None]]]]
"""A title and, for each query under it, what compare.json says of it and the heads of A's and B's list."""


def groups_shown(said: Mapping[str, Any], paired: Paired, results: Sequence[JudgedFile], changed: tuple[Sequence[int], Sequence[int]]) -> list[Group]:
    """The queries that a comparison shows; `changed` are the places in `paired` of those that gained most and lost most, `results` A's and B's."""
    sides = [(side.rows, _lists_of(said[name]["folder"]), result) for name, side, result in zip("ab", (paired.a, paired.b), results)]
    groups: list[Group] = []
    for title, name, places in (("Gained most in B", "most_gained", changed[0]), ("Lost most in B", "most_lost", changed[1])):
        if places:
            heads = [[_head(rows[place], ranked, result) for rows, ranked, result in sides] for place in places]
            groups.append((title, list(zip(said[name], heads))))
    return groups


def items_shown(groups: Sequence[Group]) -> dict[str, list[str]]:
    """{"queries": ids, "docs": ids} of the items in `groups`: those that need cards."""
    every = [(query["query"], head) for _, queries in groups for query, heads in queries for head in heads]
    documents = [document for _, head in every for document, _, _ in head or ()]
    return {"queries": list(dict.fromkeys(query for query, _ in every)), "docs": list(dict.fromkeys(documents))}


def remarks(said: Mapping[str, Any]) -> list[str]:
    """What a reader of a comparison's numbers has to know of the two sides, a line each."""
    a, b = said["a"], said["b"]
    lines = []
    if a["top_k"] != b["top_k"]:
        lines.append(f"A has {a['top_k']:,} results a query, B {b['top_k']:,}: the first {said['depth']:,} of both are compared")
    if said["other_documents"]:
        lines.append(f"A searched {a['docs']:,} documents, B {b['docs']:,}, not the same ones: numbers differ for that reason, too")
    if a["split"] != b["split"]:
        lines.append(f"A is of split {a['split'] or '(not said)'}, B of split {b['split'] or '(not said)'}")
    return lines


def render_comparison(said: Mapping[str, Any], groups: Sequence[Group], cards: Cards) -> str:
    """The page's HTML. All text is escaped; nothing in it is fetched from anywhere.

    Args:
        said: what compare.json holds.
        groups: as `groups_shown` gives them.
        cards: how items look.
    """
    query_domain, doc_domain = domains_of(said["task"])
    return page_template("compare.html.j2").render(
        said=said,
        label=lambda name: METRIC_LABELS.get(name, name),
        sign=_sign,
        remarks=remarks(said),
        text=_text,
        side=_side,
        groups=groups,
        query_domain=query_domain,
        doc_domain=doc_domain,
        query_card=lambda item: cards.of(query_domain, item),
        doc_card=lambda item: cards.of(doc_domain, item, images=1),
        size=lambda: size_text(cards.pictures),
    )


def _lists_of(folder: str) -> Ranked | None:
    path = Path(folder) / "ranked.h5"
    return Ranked(path) if path.is_file() else None


def _head(row: int, ranked: Ranked | None, result: JudgedFile) -> Head | None:
    """The head of the list of the query `row`; None where the folder holds no lists."""
    if ranked is None:
        return None
    [ranks], [scores] = ranked.lists([int(row)], RESULTS_SHOWN)
    found = result.found
    relevant = set(found.rank[slice(*np.searchsorted(found.query, (row, row + 1)))].tolist())
    documents = decode_ids(ranked.doc_ids[ranks[ranks >= 0]])
    return [(item, float(score), place in relevant) for place, (item, score) in enumerate(zip(documents, scores), 1)]


def _sign(name: str, value: float) -> str:
    """better, worse or same: what a difference of the metric `name` means for B."""
    gain = -value if name in LOWER_IS_BETTER else value
    return "better" if gain > 0 else "worse" if gain < 0 else "same"


def _side(name: str, own: Mapping[str, Any], side: str) -> str:
    """The metric `name` of the side a or b, which may be no more than a lower bound."""
    return f"{'≥ ' if own.get(f'{side}_is_lower_bound') else ''}{_text(name, own[side])}"


def _text(name: str, value: float, signed: bool = False) -> str:
    if name == "median_rank":
        return rank_text(value, signed)
    return f"{value:{'+' if signed else ''}.4f}"
