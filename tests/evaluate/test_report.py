from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest

from evaluate.examples import pick
from evaluate.ground_truth import GroundTruth
from evaluate.judged import judge
from evaluate.report import main, report, shown
from tests.evaluate.cards import TRUTH, little_result, write_cards
from tests.evaluate.dumps import write_lists


class Elements(HTMLParser):
    """The (tag, attributes) of every element of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.all: list[tuple[str, dict]] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.all.append((tag, dict(attributes)))


def test_the_files_of_a_report_are_written_and_hold_the_numbers(tmp_path):
    ranked, truth = little_result(tmp_path)

    values = report(ranked, truth, tmp_path, split="test")

    assert json.loads((tmp_path / "metrics.json").read_text()) == values
    assert (values["queries"], values["queries_without_relevant"], values["docs"]) == (5, 1, 15)
    assert values["hit@10"] == 0.5 and values["recall@10"] == pytest.approx((1 + 0 + 0 + 1) / 4)
    assert (tmp_path / "recall.svg").read_text().startswith("<?xml")
    page = (tmp_path / "report.html").read_text()
    assert 'data-metric="hit@10">0.500<' in page and "split <b>test</b>" in page
    assert "queries without a relevant document: left out of every mean" in page


def test_a_page_is_the_same_twice_and_fetches_nothing(tmp_path):
    ranked, truth = little_result(tmp_path)
    cards = write_cards(tmp_path / "cards")

    report(ranked, truth, tmp_path / "a", cards)
    report(ranked, truth, tmp_path / "b", cards)

    for name in ("metrics.json", "recall.svg", "report.html"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    elements = Elements((tmp_path / "a" / "report.html").read_text()).all
    images = [attributes["src"] for tag, attributes in elements if tag == "img"]
    assert len(images) > 40 and all(source.startswith("data:image/jpeg;base64,") for source in images)
    links = [value for _, attributes in elements for name, value in attributes.items() if name in ("src", "href", "xlink:href") and value]
    assert all(link.startswith(("data:", "#")) for link in links)
    assert not [tag for tag, _ in elements if tag in ("script", "iframe", "object")]


def test_words_are_shown_as_words_whatever_they_spell(tmp_path):
    ranked, truth = little_result(tmp_path)

    report(ranked, truth, tmp_path, write_cards(tmp_path / "cards"))

    page = (tmp_path / "report.html").read_text()
    assert "Tea &lt;script&gt;alert(&#34;x&#34;)&lt;/script&gt; &amp; &#34;cakes&#34; 抹茶" in page
    assert "Caption of v1" in page and "50 % off" in page


def test_ids_with_quotes_and_brackets_stay_inside_their_attribute(tmp_path):
    odd = '"><b id="x">'
    ranked = write_lists(tmp_path / "ranked.h5", {odd: [odd, "g"]}, [odd, "g"])

    report(ranked, GroundTruth.of_pairs([(odd, [odd])]), tmp_path)

    elements = Elements((tmp_path / "report.html").read_text()).all
    assert [attributes["data-query-id"] for _, attributes in elements if "data-query-id" in attributes] == [odd]
    assert not [tag for tag, attributes in elements if tag == "b" and attributes.get("id") == "x"]


def test_exactly_the_items_on_the_page_need_cards(tmp_path):
    ranked, truth = little_result(tmp_path)

    needed = shown(ranked, truth, number=2, seed=5)
    report(ranked, truth, tmp_path, shown_queries=2, seed=5)

    page = (tmp_path / "report.html").read_text()
    assert re.findall('data-query-id="(.*?)"', page) == needed["queries"]
    assert set(re.findall('data-doc-id="(.*?)"', page)) == set(needed["docs"])
    assert len(needed["docs"]) == len(set(needed["docs"]))


def test_half_of_the_queries_shown_are_misses_where_there_are_enough(tmp_path):
    lists = {f"v{number}": [f"g{rank}" for rank in range(12)] for number in range(40)}
    truth = {f"v{number}": ["g1" if number < 30 else "g11"] for number in range(38)}
    judged = judge(write_lists(tmp_path / "ranked.h5", lists, lists["v0"]), GroundTruth.of_pairs(truth.items()))

    assert sorted(row >= 30 for row in pick(judged, 10, seed=0)) == [False] * 5 + [True] * 5
    assert sorted(row >= 30 for row in pick(judged, 24, seed=0)) == [False] * 16 + [True] * 8
    assert sorted(pick(judged, 100, seed=0)) == list(range(38))
    assert pick(judged, 10, seed=0) == pick(judged, 10, seed=0) != pick(judged, 10, seed=1)
    assert pick(judged, 0, seed=0) == []


def test_a_card_that_names_a_missing_picture_is_an_error(tmp_path):
    ranked, truth = little_result(tmp_path)
    cards = write_cards(tmp_path / "cards")
    (cards / "pictures" / "g1.0.jpg").unlink()

    with pytest.raises(ValueError, match=r"pictures/g1.0.jpg, an image of 'g1' in .*cards.json: no such"):
        report(ranked, truth, tmp_path, cards)
    with pytest.raises(ValueError, match=r"nowhere/cards.json: no such file; pipeline.cards writes it"):
        report(ranked, truth, tmp_path, tmp_path / "nowhere")


def test_the_command_reads_released_spelling_and_says_the_numbers(tmp_path, capsys):
    little_result(tmp_path)
    file = tmp_path / "truth.tsv"
    file.write_text("".join(f"{query}_0\t{','.join(f'{document}.jpg' for document in ids)}\n" for query, ids in TRUTH.items()))

    given = {"--ranked": tmp_path / "ranked.h5", "--ground_truth": file, "--out": tmp_path / "out"}
    main([str(text) for pair in given.items() for text in pair] + ["--released_ids", "--cutoffs", "1", "12"])

    said = capsys.readouterr().out
    assert "video2goods: recall@1 0.1250  recall@12 0.7500  hit@1 0.2500" in said
    assert "4 of 5 queries, 15 documents" in said
    assert set(json.loads((tmp_path / "out" / "metrics.json").read_text())) >= {"recall@1", "recall@12"}
