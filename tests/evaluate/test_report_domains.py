"""The report of searches by typed queries and by live streams: words as headlines, frames as of a clip."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from evaluate.judging.ground_truth import GroundTruth
from evaluate.report import report
from tests.evaluate.dumps import write_lists

LONG = "a very long query " * 6 + "& <b>more</b>"


def page_of(folder: Path, task: str, cards: dict | None, queries: tuple[str, ...]) -> str:
    """The page of `queries` that each find g0 first of two goods, with `cards` and one picture file p.jpg to name in them."""
    ranked = write_lists(folder / "ranked.h5", {query: ["g0", "g1"] for query in queries}, ["g0", "g1"], task)
    if cards is not None:
        (folder / "cards").mkdir()
        Image.new("RGB", (8, 6)).save(folder / "cards/p.jpg")
        (folder / "cards/cards.json").write_text(json.dumps(cards), encoding="utf-8")
    report(ranked, GroundTruth.of_pairs((query, ["g0"]) for query in queries), folder, None if cards is None else folder / "cards")
    return (folder / "report.html").read_text()


def header(page: str, query: str) -> str:
    """The part of the page about a query itself."""
    return re.search(f'data-query-id="{re.escape(query)}">\n<header>(.*?)</header>', page, re.DOTALL).group(1)  # type: ignore[union-attr]


def words_card(title: str) -> dict:
    return {"title": title, "words": {"title": title}, "images": []}


def test_the_words_of_a_query_are_its_headline_said_once_and_no_picture_is_missed(tmp_path):
    page = page_of(tmp_path, "query2goods", {"query": {"blue kettle 茶壶": words_card("blue kettle 茶壶")}}, ("blue kettle 茶壶", "tea"))

    about = header(page, "blue kettle 茶壶")
    assert '<p class="question">blue kettle 茶壶</p>' in about and about.count("blue kettle 茶壶") == 1
    assert "no picture" not in about and 'class="frames"' not in about and "no words" not in about
    assert "2 queries, each ranking 2 documents (goods)" in page


def test_a_query_whose_id_is_not_its_words_shows_both(tmp_path):
    page = page_of(tmp_path, "query2goods", {"query": {"~77": words_card(LONG)}}, ("~77",))

    about = header(page, "~77")
    assert "&amp; &lt;b&gt;more&lt;/b&gt;</p>" in about and "query ~77" in about


def test_a_query_item_of_a_catalog_may_have_a_picture_and_more_words(tmp_path):
    card = {"title": "Kettle", "words": {"title": "Kettle", "caption": "like this one"}, "images": ["p.jpg"]}

    about = header(page_of(tmp_path, "query2goods", {"query": {"q-7": card}}, ("q-7",)), "q-7")

    assert '<p class="question">Kettle</p>' in about and 'class="frames"' in about
    assert "like this one" in about and about.count("Kettle") == 1


def test_without_cards_a_query_is_shown_by_its_id(tmp_path):
    assert '<p class="question">kettle</p>' in header(page_of(tmp_path, "query2goods", None, ("kettle",)), "kettle")


@pytest.mark.parametrize("domain", ["live", "video"])
def test_a_live_stream_is_shown_as_a_clip_is(tmp_path, domain):
    card = {"title": "", "words": {"caption": "tonight"}, "images": ["p.jpg"] * 3}

    page = page_of(tmp_path, f"{domain}2goods", {domain: {"s1": card}}, ("s1", "s2"))

    about, without = header(page, "s1"), header(page, "s2")
    assert about.count("<img") == 3 and "tonight" in about and f"{domain} s1" in about and "question" not in about
    assert "no picture" in without and "no words" in without
    assert f"2 queries ({domain}), each ranking" in page
