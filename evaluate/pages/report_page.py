"""The report as HTML: one page with everything inside where few queries are shown, else an overview and a folder of pages beside it.

OUT/report.html                                     numbers, figures, and the queries or links to their pages
OUT/report/page-001.html ...  OUT/report/pictures/  queries, so many a page; their pictures, loaded when they come into view
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from evaluate.pages.cards import Cards
from evaluate.pages.examples import Chosen, Example
from evaluate.pages.numbers import how_searched, interval_text, left_out, metric_labels, number_text
from evaluate.pages.pictures import Beside, Inside, Pictures
from evaluate.pages.template import page_template
from evaluate.search import domains_of
from launch.files import whole_file, whole_folder

BY_COLUMNS = ("hit@1", "hit@10", "recall@10", "recall@100", "map", "median_rank")
GROUPS_SHOWN = 30
NOT_SAID = {"only": "", "queries_only": "", "dedup": 0.0, "searched_only": False}
"""What metrics.json leaves out where it is not so."""
PAGES = "report"
OWN_FILE = re.compile(r"page-\d{3,}\.html|pictures/\d{6,}\.(jpg|jpeg|png|webp)")
"""What `Page.name` and `evaluate.pages.pictures.Beside` call the files in it."""


@dataclass(frozen=True)
class Section:
    """Queries under one heading on one page: `number` of them under that heading in all."""

    title: str
    about: str
    number: int
    examples: Sequence[Example]


@dataclass(frozen=True)
class Page:
    """A page of queries: its number from 1, and the number of its first query and its last one."""

    number: int
    first: int
    last: int

    @property
    def name(self) -> str:
        """Its file's name."""
        return f"page-{self.number:03d}.html"


def write_report(
    out: Path,
    metrics: Mapping[str, Any],
    figures: Mapping[str, Markup],
    chosen: Sequence[Chosen],
    examples_of: Callable[[Sequence[int]], list[Example]],
    cards: str | Path | None,
    queries_per_page: int,
    most_bytes: int,
) -> None:
    """Write report.html, and the folder of pages where more than `queries_per_page` queries are shown (else one of an earlier report is removed).

    All text is escaped; no page fetches anything but its own pictures. The same numbers give the same bytes. A folder of that name that holds
    anything else than pages is never replaced or removed.

    Args:
        metrics: what metrics.json holds.
        figures: `curve` and `scores`, as elements of a page.
        chosen: the queries to show.
        examples_of: how rows of the lists are shown; asked for a page's at a time.
        cards: folder of cards (`evaluate/pages/cards.py`), or None.
        most_bytes: bound of the sum of all pictures.

    Raises ValueError, before anything is written, where pages are needed and something else is in their place.
    """
    total = sum(len(group.rows) for group in chosen)
    folder = out / PAGES
    if total <= queries_per_page:
        own = Cards(cards, Inside(most_bytes))
        sections = [Section(group.title, group.about, len(group.rows), examples_of(group.rows)) for group in chosen]
        _write(out / "report.html", "report.html.j2", **_overview(metrics, figures), **_queries(metrics, own, sections), pages=[], kinds=[])
        if (folder / Page(1, 1, 1).name).is_file() and not _foreign(folder):
            shutil.rmtree(folder)
        return
    if foreign := _foreign(folder):
        raise ValueError(
            f"{folder}: {foreign}, and the pages of this report go there; move it away, or give another --out or more --queries_per_page"
        )
    pages = [Page(1 + first // queries_per_page, 1 + first, min(first + queries_per_page, total)) for first in range(0, total, queries_per_page)]
    with whole_folder(folder) as unfinished:
        own = Cards(cards, Beside(unfinished, most_bytes))
        for page in pages:
            around = {"first": pages[0], "prev": page.number > 1 and pages[page.number - 2]}
            around |= {"next": page.number < len(pages) and pages[page.number], "last": pages[-1]}
            shown = _queries(metrics, own, _sections(chosen, page, examples_of))
            _write(unfinished / page.name, "queries.html.j2", **shown, page=page, pages=pages, total=total, around=around)
    kinds = [(group.title, len(group.rows)) for group in chosen]
    _write(out / "report.html", "report.html.j2", **_overview(metrics, figures), **_queries(metrics, own, []), pages=pages, kinds=kinds)


def _foreign(folder: Path) -> str:
    """What is in the place of `folder` that no report has written, in words; "" where there is nothing."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        return "not a folder"
    for entry in (*sorted(folder.glob("*")), *sorted(folder.glob("pictures/*"))):
        name = entry.relative_to(folder).as_posix()
        expected = entry.is_dir() if name == "pictures" else entry.is_file() and OWN_FILE.fullmatch(name)
        if entry.is_symlink() or not expected:
            return f"it holds {name!r}, which no report has written"
    return ""


def _sections(chosen: Sequence[Chosen], page: Page, examples_of: Callable[[Sequence[int]], list[Example]]) -> list[Section]:
    """What of `chosen` is on `page`."""
    sections, before = [], 0
    for group in chosen:
        rows = group.rows[max(0, page.first - 1 - before) : max(0, page.last - before)]
        if rows:
            sections.append(Section(group.title, group.about, len(group.rows), examples_of(rows)))
        before += len(group.rows)
    return sections


def _overview(metrics: Mapping[str, Any], figures: Mapping[str, Markup]) -> dict[str, Any]:
    """What the part with the numbers needs."""
    groups = list(metrics["by"]["groups"].items()) if "by" in metrics else []
    return {
        "numbers": metric_labels(metrics),
        "intervals": "intervals" in metrics,
        "number": number_text,
        "interval": interval_text,
        "how": how_searched(metrics),
        "by": metrics.get("by"),
        "by_columns": [(name, label) for name, label in metric_labels(metrics) if name in BY_COLUMNS],
        "by_groups": groups[:GROUPS_SHOWN],
        "by_rest": max(0, len(groups) - GROUPS_SHOWN),
        "left_out": left_out(metrics),
        "figures": figures,
        "folder": PAGES,
    }


def _queries(metrics: Mapping[str, Any], cards: Cards, sections: Sequence[Section]) -> dict[str, Any]:
    """What the part with the queries needs."""
    query_domain, doc_domain = domains_of(metrics["task"])
    asked = query_domain == "query"  # somebody's words: they are the headline, and no picture is missing
    return {
        "metrics": {**NOT_SAID, **metrics},
        "sections": sections,
        "asked": asked,
        "query_domain": query_domain,
        "doc_domain": doc_domain,
        "query_card": lambda item: cards.of(query_domain, item),
        "query_words": lambda card: card.words_beside(headline=asked),
        "doc_card": lambda item: cards.of(doc_domain, item, images=1),
        "size": lambda: size_text(cards.pictures),
    }


def size_text(pictures: Pictures) -> str:
    """What the pictures so far make, in words."""
    if not pictures.number and not pictures.left_out:
        return "no pictures"
    bound = "" if pictures.most_bytes is None else f" (at most {pictures.most_bytes / 1e6:g} MB)"
    rest = f"; {pictures.left_out:,} left out beyond that" if pictures.left_out else ""
    return f"{pictures.number:,} pictures, {pictures.bytes / 1e6:.1f} MB{bound}{rest}"


def _write(path: Path, template: str, **values: Any) -> None:
    with whole_file(path) as file:
        file.write(page_template(template).render(**values))
