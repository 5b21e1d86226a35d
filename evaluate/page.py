"""The report as one HTML page: numbers, recall curve, and queries beside their first results, every image inside the page.

Cards are what a person sees of an item. They come from a folder with `cards.json`:

    {DOMAIN: {ID: {"title": "...", "words": {"caption": "...", ...}, "images": ["relative/path.jpg", ...]}}}
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from evaluate.curve import FAINT, INK
from evaluate.examples import Example
from evaluate.search import domains_of
from launch.files import read_json

IMAGE_TYPES = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".webp": "image/webp"}
LABELS = {"title": "Title", "description": "Description", "caption": "Caption", "recognised_text": "Recognised text"}

METRIC_LABELS = {"mrr": "MRR", "map": "mAP", "ndcg@10": "nDCG@10", "median_rank": "median rank"}
BY_COLUMNS = ("hit@1", "hit@10", "recall@10", "recall@100", "map", "median_rank")
GROUPS_SHOWN = 30
NOT_SAID = {"only": "", "queries_only": "", "dedup": 0.0, "searched_only": False}
"""What metrics.json leaves out where it is not so."""


def metric_labels(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(name in metrics.json, what a person calls it) of every metric there, the median rank last."""
    names = [name for name in metrics if name.startswith(("recall@", "hit@")) or name in METRIC_LABELS]
    return [(name, METRIC_LABELS.get(name, name)) for name in sorted(names, key=lambda name: name == "median_rank")]


def number_text(metrics: Mapping[str, Any], name: str) -> str:
    """The metric `name` as a page shows it."""
    if name == "median_rank":
        return f"{'≥ ' if metrics['median_rank_is_lower_bound'] else ''}{metrics[name]:g}"
    return f"{metrics[name]:.4f}"


def interval_text(metrics: Mapping[str, Any], name: str) -> str:
    """Its interval: two ends with as many digits as a page shows."""
    low, high = metrics["intervals"][name]
    return f"{low:g} – {high:g}" if name == "median_rank" else f"{low:.3f} – {high:.3f}"


@dataclass(frozen=True)
class Card:
    """What a person sees of an item: its title ("" where it has none), its words by a person's names for them, its images as data URIs."""

    title: str
    words: Mapping[str, str]
    images: Sequence[str]


class Cards:
    """The cards of a folder, or of none: an item without a card is shown by its id alone.

    Raises ValueError where the folder has no cards.json, and where a card names an image that is not there or of unknown type.
    """

    def __init__(self, folder: str | Path | None) -> None:
        self._folder = None if folder is None else Path(folder)
        self._cards: Mapping[str, Any] = {}
        if self._folder is not None:
            listing = self._folder / "cards.json"
            if not listing.is_file():
                raise ValueError(f"{listing}: no such file; pipeline.cards writes it, or leave --cards out")
            self._cards = read_json(listing)

    def of(self, domain: str, item: str) -> Card:
        """The card of `item`, empty where there is none."""
        card = self._cards.get(domain, {}).get(item, {})
        words = {LABELS.get(name, name): text for name, text in card.get("words", {}).items() if text}
        return Card(card.get("title") or "", words, [self._image(name, item) for name in card.get("images", [])])

    def _image(self, name: str, item: str) -> str:
        assert self._folder is not None
        path = self._folder / name
        kind = IMAGE_TYPES.get(path.suffix.lower())
        if kind is None or not path.is_file():
            raise ValueError(f"{path}, an image of {item!r} in {self._folder / 'cards.json'}: no such .jpg, .png or .webp file; make the cards again")
        return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def page_template(name: str) -> Template:
    """The template `name` of this room; whatever is put into it is escaped."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(name)


def render(metrics: Mapping[str, Any], svg: str, shown: Sequence[Example], cards: Cards, seed: int) -> str:
    """The page's HTML. All text is escaped; nothing in it is fetched from anywhere.

    Args:
        metrics: what metrics.json holds.
        svg: `evaluate.curve.recall_svg`'s.
        shown: queries to show.
        cards: how items look.
        seed: which seed drew `shown`.
    """
    query_domain, doc_domain = domains_of(metrics["task"])
    asked = query_domain == "query"  # somebody's words: they are the headline, and no picture is missing
    # Inside the page the curve takes the page's colours, so that it can be read on a dark ground too.
    inline = svg[svg.index("<svg") :].replace(INK, "currentColor").replace(FAINT, "var(--faint)")
    return page_template("report.html.j2").render(
        metrics={**NOT_SAID, **metrics},
        numbers=metric_labels(metrics),
        intervals="intervals" in metrics,
        number=number_text,
        interval=interval_text,
        by=metrics.get("by"),
        by_columns=[(name, label) for name, label in metric_labels(metrics) if name in BY_COLUMNS],
        by_groups=list(metrics["by"]["groups"].items())[:GROUPS_SHOWN] if "by" in metrics else [],
        by_rest=max(0, len(metrics["by"]["groups"]) - GROUPS_SHOWN) if "by" in metrics else 0,
        left_out=_left_out(metrics),
        curve=Markup(inline),
        groups=_groups(shown),
        seed=seed,
        asked=asked,
        query_domain=query_domain,
        doc_domain=doc_domain,
        query_card=lambda item: cards.of(query_domain, item),
        query_words=lambda card: _words(card, asked),
        doc_card=lambda item: cards.of(doc_domain, item),
    )


def _words(card: Card, asked: bool) -> dict[str, str]:
    """The words beside a query's results by their labels, its title among them unless that is the headline."""
    words = {"Title": card.title, **card.words} if card.title and "Title" not in card.words else dict(card.words)
    return {label: text for label, text in words.items() if not (asked and label == "Title")}


def _groups(shown: Sequence[Example]) -> list[tuple[str, list[Example]]]:
    groups = [
        ("Found among the first ten", [example for example in shown if example.is_hit]),
        ("Not among the first ten", [example for example in shown if not example.is_hit]),
    ]
    return [(title, members) for title, members in groups if members]


def _left_out(metrics: Mapping[str, Any]) -> list[tuple[int, str]]:
    """(how many, of what) for everything that was left out or is missing, empty where nothing is."""
    reasons = (
        ("queries_without_relevant", "queries without a relevant document: left out of every mean"),
        ("queries_not_searched", "queries of the ground truth that were not searched with: left out of every mean"),
        ("queries_failed", "queries that could not be embedded"),
        ("docs_failed", "documents that could not be embedded: no query can find them"),
        ("relevant_not_in_docs", "relevant documents that were not searched: they count as not found"),
    )
    return [(metrics[name], reason) for name, reason in reasons if metrics[name]]
