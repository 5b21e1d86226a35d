from __future__ import annotations

import json
import re
from collections import Counter
from html.parser import HTMLParser

import numpy as np
import pytest
import pytrec_eval

from evaluate.dump import Dump
from evaluate.judging.ground_truth import GroundTruth
from evaluate.judging.judged import judge
from evaluate.judging.judged_file import read_judged
from evaluate.pages.examples import pick
from evaluate.ranked import Ranked
from evaluate.report import main, report, shown
from evaluate.search import search
from tests.evaluate.cards import TRUTH, little_result, write_cards
from tests.evaluate.dumps import write_dump, write_lists


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

    for name in ("metrics.json", "recall.svg", "scores.svg", "report.html"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    elements = Elements((tmp_path / "a" / "report.html").read_text()).all
    images = [attributes["src"] for tag, attributes in elements if tag == "img"]
    assert len(images) > 40 and all(source.startswith("data:image/jpeg;base64,") for source in images)
    links = [value for _, attributes in elements for name, value in attributes.items() if name in ("src", "href", "xlink:href") and value]
    assert all(link.startswith(("data:", "#")) for link in links)
    assert not [tag for tag, _ in elements if tag in ("iframe", "object")]
    assert [attributes for tag, attributes in elements if tag == "script"] == [{}], "our own, inside the page"


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
    assert sorted(pick(judged, 100, seed=0, without=[0, 31])) == [row for row in range(38) if row not in (0, 31)]
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


def test_what_was_not_searched_and_a_median_that_is_a_bound_are_said_by_the_command(tmp_path, capsys):
    write_lists(tmp_path / "ranked.h5", {query: list(KINDS)[:12] for query in ("v1", "v2")}, list(KINDS))
    (tmp_path / "truth.tsv").write_text("v1\tg13,gone\nv2\tg14,gone\n")
    flags = ["--ranked", str(tmp_path / "ranked.h5"), "--ground_truth", str(tmp_path / "truth.tsv"), "--out", str(tmp_path), "--resamples", "0"]

    main(flags)

    numbers, missing, last = capsys.readouterr().out.splitlines()
    assert numbers.endswith("median rank ≥ 13") and last.startswith("2 of 2 queries, 15 documents")
    assert missing == "2 relevant pairs (query, document) point to documents that were not searched: they count as not found"
    main([*flags, "--searched_only"])
    assert "that were not searched: left out" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--most_mb", "nan"], "--most_mb nan: .*a finite number of MB, 0 or more"),
        (["--most_mb", "inf"], "--most_mb inf: .*a finite number of MB, 0 or more"),
        (["--shown", "-3"], "--shown -3: 0 queries or more"),
        (["--worst", "-1"], "-1 of the worst queries to show: 0 or more"),
        (["--cards", "nowhere"], "cards.json: no such file"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_written(tmp_path, flags, said):
    little_result(tmp_path)
    (tmp_path / "truth.tsv").write_text("v1\tg2\n")

    with pytest.raises(ValueError, match=said):
        main(["--ranked", str(tmp_path / "ranked.h5"), "--ground_truth", str(tmp_path / "truth.tsv"), "--out", str(tmp_path / "out"), *flags])

    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("foreign", ["notes.txt", "page-001.html/notes.txt", "pictures/holiday.jpg", ".hidden", "pages/page-001.html"])
def test_a_folder_of_somebody_elses_in_the_place_of_the_pages_is_never_touched(tmp_path, foreign):
    ranked, truth = little_result(tmp_path)
    file = tmp_path / "out/report" / foreign
    file.parent.mkdir(parents=True)
    file.write_text("mine")

    with pytest.raises(ValueError) as caught:
        report(ranked, truth, tmp_path / "out", queries_per_page=2)

    held = foreign.partition("/")[0] if not foreign.startswith("pictures") else foreign
    assert str(caught.value).startswith(f"{tmp_path / 'out/report'}: it holds {held!r}, which no report has written, and the pages of this report go")
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == [file] and file.read_text() == "mine"


def test_a_single_page_leaves_a_folder_with_something_else_in_it_alone_and_removes_one_with_pages_only(tmp_path):
    ranked, truth = little_result(tmp_path)
    report(ranked, truth, tmp_path, write_cards(tmp_path / "cards"), queries_per_page=2)
    (tmp_path / "report/notes.txt").write_text("mine")

    report(ranked, truth, tmp_path)

    assert {"notes.txt", "page-001.html", "pictures"} <= {path.name for path in (tmp_path / "report").iterdir()}
    (tmp_path / "report/notes.txt").unlink()
    report(ranked, truth, tmp_path, queries_per_page=2)
    assert (tmp_path / "report/page-002.html").is_file() and not (tmp_path / "report/page-003.html").exists()
    report(ranked, truth, tmp_path)
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_file_or_a_link_in_the_place_of_the_pages_is_refused(tmp_path, kind):
    ranked, truth = little_result(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/page-001.html").write_text("mine")
    if kind == "file":
        (tmp_path / "out/report").write_text("mine")
    else:
        (tmp_path / "out/report").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(ValueError, match="out/report: not a folder, and the pages of this report go there"):
        report(ranked, truth, tmp_path / "out", queries_per_page=2)
    report(ranked, truth, tmp_path / "out")

    assert (tmp_path / "out/report").exists() and (tmp_path / "elsewhere/page-001.html").read_text() == "mine"


def test_more_relevant_documents_than_candidates_are_no_error_and_have_no_line_of_chance(tmp_path):
    lists = {"v1": ["g1", "g2", "g3"], "v2": ["g4", "g5", "g6"]}
    truth = GroundTruth.of_pairs([("v1", ["g1", "g7", "g8", "g9", "g10"]), ("v2", ["g5"])])

    values = report(write_lists(tmp_path / "some.h5", lists, list(KINDS), candidates=3), truth, tmp_path / "some", resamples=0)
    report(write_lists(tmp_path / "all.h5", {"v1": list(KINDS), "v2": list(KINDS)}, list(KINDS)), truth, tmp_path / "all", resamples=0)

    assert values["recall@1"] == pytest.approx((1 / 5 + 0) / 2) and values["candidates"] == 3
    random = {name: "random order" in (tmp_path / name / "recall.svg").read_text() for name in ("some", "all")}
    assert random == {"some": False, "all": True}


KINDS = {document: ["Food", "Fruit"] if number < 6 else ["Home"] for number, document in enumerate([f"g{row}" for row in range(15)])}


def test_numbers_have_intervals_also_by_category(tmp_path):
    order = {"v1": [f"g{row}" for row in range(12)], "v2": [f"g{row}" for row in range(3, 15)], "v3": [f"g{row}" for row in range(12)]}
    ranked = write_lists(tmp_path / "ranked.h5", order, list(KINDS), labels={"category": ({}, KINDS)})
    truth = GroundTruth.of_pairs([("v1", ["g1"]), ("v2", ["g14", "g4"]), ("v3", ["g7"])])

    values = report(ranked, truth, tmp_path, resamples=200)

    assert read_judged(tmp_path / "judged.h5").found.relevant.tolist() == [1, 2, 1]
    assert json.loads((tmp_path / "metrics.json").read_text()) == values
    assert values["intervals"].keys() == {name for name in values if "@" in name} | {"map", "mrr", "median_rank"}
    for name, (low, high) in values["intervals"].items():
        assert low <= values[name] <= high and (low < high or values[name] in (0, 1)), name
    by = values["by"]
    assert (by["label"], by["of"], by["queries_without"]) == ("category", "relevant documents", 0)
    assert {name: own["queries"] for name, own in by["groups"].items()} == {"Food": 2, "Home": 2}
    assert by["groups"]["Food"]["recall@5"] == pytest.approx((1 + 1 / 2) / 2) and by["groups"]["Home"]["intervals"]["recall@5"] == [0, 0.5]
    page = (tmp_path / "report.html").read_text()
    assert re.findall('data-group="(.*?)"', page) == ["Food", "Home"] and "95 % of 200 resamples" in page


def test_intervals_and_categories_are_left_out_on_request(tmp_path):
    ranked = write_lists(tmp_path / "ranked.h5", {"v1": list(KINDS)}, list(KINDS), labels={"category": ({}, KINDS)})

    values = report(ranked, GroundTruth.of_pairs([("v1", ["g1"])]), tmp_path, by="", resamples=0)

    assert not {"by", "intervals", "resamples"} & values.keys()
    assert "resamples" not in (tmp_path / "report.html").read_text()
    with pytest.raises(ValueError, match="--resamples -1: 0"):
        report(ranked, GroundTruth.of_pairs([("v1", ["g1"])]), tmp_path, resamples=-1)


def test_a_document_that_stands_for_a_relevant_one_is_shown_as_a_hit(tmp_path):
    listed = [document for document in KINDS if document != "g2"]
    ranked = write_lists(tmp_path / "ranked.h5", {"v1": listed}, list(KINDS), folded=[("v1", "g2", "g1")])

    values = report(ranked, GroundTruth.of_pairs([("v1", ["g2"])]), tmp_path, cutoffs=[1, 2], resamples=0)

    assert (values["recall@1"], values["recall@2"], values["median_rank"], values["dedup"]) == (0, 1, 2, 0.98)
    page = (tmp_path / "report.html").read_text()
    assert "stands for g2" in page and "rank 2, as g1" in page and "First relevant at rank 2" in page
    assert re.findall(r'data-doc-id="(g\d)" data-rank="(\d)" data-hit="true"', page) == [("g1", "2"), ("g2", "2")]


def test_what_a_search_was_narrowed_to_is_said(tmp_path):
    labels = {f"g{row}": {"category": ["Food"] if row < 12 else ["Home"]} for row in range(20)}
    rows = np.random.default_rng(0).standard_normal((22, 4))
    sides = [("goods", rows[:20], list(labels)), ("video", rows[20:], ["v0", "v1"])]
    dump = Dump(write_dump(tmp_path / "dump", sides, labels=labels))
    ranked = Ranked(search(dump, dump, tmp_path, "video2goods", only=["category=Food"]))
    truth = GroundTruth.of_pairs([("v0", ["g3", "g15"]), ("v1", ["g16"])])

    strict, searched = (report(ranked, truth, tmp_path, searched_only=flag) for flag in (False, True))

    assert (strict["only"], strict["docs"], strict["queries_evaluated"], strict["recall@10"]) == ("category=Food", 12, 2, strict["recall@10"])
    assert searched["queries_evaluated"] == 1 and searched["recall@10"] == 4 * strict["recall@10"]
    assert strict["relevant_not_in_docs"] == searched["relevant_not_in_docs"] == 2
    assert "<dt>Documents</dt><dd>category=Food alone</dd>" in (tmp_path / "report.html").read_text()


def test_ties_are_broken_as_trec_eval_does_where_ids_come_in_falling_order(tmp_path):
    # Our ties go by row, trec_eval's by id, descending: with falling ids both order alike, and all numbers agree, from files to files.
    draw = np.random.default_rng(0)
    goods, videos = draw.integers(-1, 2, (90, 3)).astype(np.float32), draw.integers(-1, 2, (40, 3)).astype(np.float32)
    ids = [f"g{row:02d}" for row in range(90)][::-1]
    dump = Dump(write_dump(tmp_path / "dump", [("goods", goods, ids), ("video", videos, [f"v{row}" for row in range(40)])], shard_rows=31))
    truth = {f"v{row}": [f"g{own:02d}" for own in draw.permutation(90)[: draw.integers(0, 6)]] for row in range(40)}
    ranked = Ranked(search(dump, dump, tmp_path, "video2goods", 60))

    values = report(ranked, GroundTruth.of_pairs(truth.items()), tmp_path, cutoffs=[1, 5, 10, 30, 60], resamples=0)

    with open(tmp_path / "run.trec") as file:
        run = pytrec_eval.parse_run(file)
    assert max(Counter(next(iter(run.values())).values()).values()) > 5, "without ties nothing is tried"
    qrels = {query: dict.fromkeys(own, 1) for query, own in truth.items() if own}
    wanted = {"recall.1,5,10,30,60", "success.1,5,10", "recip_rank", "map", "ndcg_cut.5,10"}
    theirs = pytrec_eval.RelevanceEvaluator(qrels, wanted).evaluate(run)
    names = {"recall@": "recall_", "hit@": "success_", "ndcg@": "ndcg_cut_", "mrr": "recip_rank", "map": "map"}
    compared = 0
    for name, value in values.items():
        if start := next((own for own in names if name.startswith(own)), ""):
            assert value == pytest.approx(np.mean([own[name.replace(start, names[start])] for own in theirs.values()])), name
            compared += 1
    assert compared == 5 + 3 + 4
    assert values["median_rank"] == np.median([1 / own["recip_rank"] if own["recip_rank"] else 61 for own in theirs.values()])
