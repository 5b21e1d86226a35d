"""The report where many queries are shown: pages linked to each other, pictures beside them, everything bounded. And the page of a comparison."""

from __future__ import annotations

import functools
import itertools
import json
import re
from pathlib import Path

import h5py
import numpy as np
import pytest

from evaluate.compare import compare
from evaluate.judging.ground_truth import GroundTruth
from evaluate.judging.judged import judge
from evaluate.judging.judged_file import judged_of, write_judged
from evaluate.pages.cards import Cards
from evaluate.pages.compare_page import render_comparison
from evaluate.pages.drawing import inside_page
from evaluate.pages.examples import choose, worst_rows
from evaluate.pages.numbers import how_searched, interval_text, left_out, number_text, rank_text
from evaluate.pages.scores import best_scores
from evaluate.ranked import Ranked
from evaluate.report import report as report_with_intervals
from evaluate.report import shown
from tests.evaluate.cards import write_cards
from tests.evaluate.dumps import write_lists
from tests.evaluate.test_compare import AFTER, BEFORE, TRUTH, result

DOCS = [f"g{number}" for number in range(15)]
report = functools.partial(report_with_intervals, resamples=0)


def many(folder: Path, queries: int = 30) -> tuple[Ranked, GroundTruth]:
    """Lists of `queries` queries over fifteen goods, of which one good is relevant to each, at rank 1 for the first query, 2 for the second …"""
    lists = {f"v{row}": DOCS for row in range(queries)}
    truth = {f"v{row}": [DOCS[row % 15]] for row in range(queries)}
    return write_lists(folder / "ranked.h5", lists, DOCS), GroundTruth.of_pairs(truth.items())


def test_more_queries_than_a_page_holds_become_pages_that_show_each_once_in_order(tmp_path):
    ranked, truth = many(tmp_path)

    report(ranked, truth, tmp_path / "whole", shown_queries=20)
    report(ranked, truth, tmp_path / "paged", shown_queries=20, queries_per_page=8)

    pages = sorted((tmp_path / "paged/report").glob("*.html"))
    ids = [re.findall('data-query-id="(.*?)"', page.read_text()) for page in pages]
    assert [page.name for page in pages] == [f"page-00{number}.html" for number in (1, 2, 3, 4)]
    assert [len(own) for own in ids] == [8, 8, 8, 3]
    assert list(itertools.chain(*ids)) == re.findall('data-query-id="(.*?)"', (tmp_path / "whole/report.html").read_text())
    assert not (tmp_path / "whole/report").exists()
    overview = (tmp_path / "paged/report.html").read_text()
    assert "data-query-id" not in overview and re.findall('href="(report/.*?)"', overview) == [f"report/{page.name}" for page in pages]
    assert "Worst: 7; Found among the first ten: 17; Not among the first ten: 3." in overview


def test_pages_are_linked_to_the_one_before_the_one_after_the_first_and_the_last(tmp_path):
    ranked, truth = many(tmp_path)

    report(ranked, truth, tmp_path, shown_queries=20, queries_per_page=10)

    links = [re.findall('<a (?:rel="(.*?)" )?href="(.*?)">', (tmp_path / f"report/page-00{number}.html").read_text())[:5] for number in (1, 2, 3)]
    one, two, three = (f"page-00{number}.html" for number in (1, 2, 3))
    assert links[0][:3] == [("", "../report.html"), ("next", two), ("", three)]
    assert links[1] == [("", "../report.html"), ("", one), ("prev", one), ("next", three), ("", three)]
    assert links[2][:3] == [("", "../report.html"), ("", one), ("prev", two)]


def test_pictures_of_pages_are_files_each_once_and_loaded_lazily(tmp_path):
    ranked, truth = many(tmp_path)
    cards = write_cards(tmp_path / "cards")

    report(ranked, truth, tmp_path / "a", cards, shown_queries=20, queries_per_page=8)
    report(ranked, truth, tmp_path / "b", cards, shown_queries=20, queries_per_page=8)

    files = {path.relative_to(tmp_path / "a"): path.read_bytes() for path in (tmp_path / "a/report").rglob("*") if path.is_file()}
    assert files == {path.relative_to(tmp_path / "b"): path.read_bytes() for path in (tmp_path / "b/report").rglob("*") if path.is_file()}
    pictures = {path.name for path in files if path.parent.name == "pictures"}
    named = {name for path, data in files.items() if path.suffix == ".html" for name in re.findall('src="pictures/(.*?)"', data.decode())}
    # Fourteen goods have a picture, four of the videos three each.
    assert pictures == named and len(pictures) == 14 + 3 * len({"v1", "v2", "v3", "v5"} & set(shown(ranked, truth, 20)["queries"]))
    for path, data in files.items():
        if path.suffix == ".html":
            images = re.findall("<img.*?>", data.decode())
            assert images and all('loading="lazy"' in image and re.search('alt="..', image) for image in images)
    said = re.search(r"Size: (\d+) pictures, ([\d.]+) MB \(at most 50 MB\)\.", (tmp_path / "a/report.html").read_text())
    assert said is not None and int(said[1]) == len(pictures)


@pytest.mark.parametrize("per_page", [60, 8])
def test_pictures_beyond_the_bound_are_left_out_and_counted(tmp_path, per_page):
    ranked, truth = many(tmp_path)
    cards = write_cards(tmp_path / "cards")
    one = next((cards / "pictures").iterdir()).stat().st_size

    report(ranked, truth, tmp_path / "out", cards, queries_per_page=per_page, most_mb=5 * one / 1e6)

    html = "".join(path.read_text() for path in (tmp_path / "out").rglob("*.html"))
    held = html.count("data:image") if per_page == 60 else len(list((tmp_path / "out/report/pictures").iterdir()))
    said = re.search(r"Size: (\d) pictures, 0.0 MB \(at most .*? MB\); (\d+) left out beyond that", html)
    assert said is not None and 2 < int(said[1]) == held < 6 and int(said[2]) >= 10
    assert "picture left out" in html


def test_pages_of_an_earlier_report_do_not_stay_beside_a_single_page(tmp_path):
    ranked, truth = many(tmp_path)

    report(ranked, truth, tmp_path, queries_per_page=8)
    report(ranked, truth, tmp_path)

    assert not (tmp_path / "report").exists()


def test_limits_that_make_no_sense_are_refused(tmp_path):
    ranked, truth = many(tmp_path)

    with pytest.raises(ValueError, match=r"--queries_per_page 0 --most_mb 50: at least 1 query"):
        report(ranked, truth, tmp_path, queries_per_page=0)
    with pytest.raises(ValueError, match="-1 of the worst queries"):
        report(ranked, truth, tmp_path, worst=-1)


def test_the_worst_have_the_least_precision_and_among_equals_the_surest_mistake(tmp_path):
    lists = {f"v{row}": DOCS[:12] for row in range(16)}
    truth = {f"v{row}": ["g0"] for row in range(10)} | {"v10": ["g5"], "v11": ["g14"], "v12": ["g13"], "v13": ["g14"], "v14": ["g11"]}
    ranked = write_lists(tmp_path / "ranked.h5", lists, DOCS)
    judged = judge(ranked, GroundTruth.of_pairs(truth.items()))
    best = best_scores(ranked, judged.found)
    best.irrelevant[13] += 0.01  # v13 is surer of what is wrong than v11 and v12, which find nothing either

    assert worst_rows(judged, best, 10) == [13, 11, 12]  # a quarter of fifteen
    assert worst_rows(judged, best, 2) == [13, 11]
    groups = choose(judged, best, 4, None, seed=0)
    assert [(group.title, len(group.rows)) for group in groups] == [("Worst", 2), ("Found among the first ten", 2), ("Not among the first ten", 2)]
    assert groups[0].rows == (13, 11) and set(groups[2].rows) == {12, 14}


def test_best_scores_are_those_found_by_looking_through_each_list(tmp_path):
    draw = np.random.default_rng(0)
    lists = {f"v{row}": [DOCS[place] for place in draw.permutation(15)] for row in range(40)}
    truth = {f"v{row}": [DOCS[place] for place in draw.permutation(15)[: draw.integers(0, 9)]] for row in range(40)}
    truth |= {"v1": DOCS, "v2": lists["v2"][:3]}
    ranked = write_lists(tmp_path / "ranked.h5", lists, DOCS)
    with h5py.File(ranked.path, "r+") as file:  # as after folding: a list of three, all of them relevant
        file["ranks"][2, 3:], file["scores"][2, 3:] = -1, -np.inf
    lists["v2"] = lists["v2"][:3]

    best = best_scores(ranked, judge(ranked, GroundTruth.of_pairs(truth.items())).found)

    scores = np.linspace(0.9, 0.1, 15, dtype=np.float32)
    for own, wanted in ((best.relevant, True), (best.irrelevant, False)):
        by_hand = [[scores[place] for place, item in enumerate(listed) if (item in truth[query]) == wanted] for query, listed in lists.items()]
        np.testing.assert_array_equal(own, [found[0] if found else np.nan for found in by_hand])
    assert np.isnan(best.irrelevant[[1, 2]]).all() and np.isnan(best.relevant).any()


def test_how_a_search_was_made_stands_in_the_head_with_what_an_approximate_one_was_measured_to_find(tmp_path):
    metrics = {"search": "approximate inner product: IVF64,Flat", "search_recall@10": 0.98312, "search_nprobe": 8, "search_seconds": 1.23456}
    metrics |= {"recall@10": 0.5, "top_k": 1000, "dedup": 0.98, "only": "category=Food"}

    assert how_searched(metrics) == [
        ("Search", "approximate inner product: IVF64,Flat"),
        ("Against exact search", "0.9831 of its best 10"),
        ("Nprobe", "8"),
        ("Seconds", "1.235"),
        ("Kept", "best 1,000 of each query"),
        ("Documents", "category=Food alone"),
        ("Near-identical", "as one above cosine 0.98"),
    ]


def test_bars_and_their_intervals_are_shares_of_their_column(tmp_path):
    kinds = {document: ["Food"] if row < 8 else ["Home"] for row, document in enumerate(DOCS)}
    ranked = write_lists(tmp_path / "ranked.h5", {f"v{row}": DOCS for row in range(15)}, DOCS, labels={"category": ({}, kinds)})
    truth = GroundTruth.of_pairs((f"v{row}", [DOCS[row]]) for row in range(15))

    values = report(ranked, truth, tmp_path, resamples=100)

    page = (tmp_path / "report.html").read_text()
    low, high = values["by"]["groups"]["Home"]["intervals"]["recall@10"]
    bars = dict(zip(("Food", "Home"), re.findall(r'<i style="width: (.*?)%"></i><b style="left: (.*?)%; width: (.*?)%">', page)))
    assert bars["Food"] == ("100.0", "100.0", "0.0")
    assert bars["Home"] == (f"{200 / 7:.1f}", f"{100 * low:.1f}", f"{100 * (high - low):.1f}")


def test_figures_in_one_page_do_not_share_ids(tmp_path):
    ranked, truth = many(tmp_path)

    report(ranked, truth, tmp_path)

    page = (tmp_path / "report.html").read_text()
    ids = re.findall(r'\sid="(.*?)"', page)
    assert len(ids) == len(set(ids)) > 50
    targets = set(re.findall(r'(?:href="#|url\(#)([^")]+)', page))
    assert len(targets) > 10 and targets <= set(ids)
    assert page.count('role="img" aria-label="') == 2
    assert "#24292f" not in page and "#24292f" in (tmp_path / "scores.svg").read_text()
    assert inside_page('<svg id="a"/>', "n", 'x"<').startswith('<svg role="img" aria-label="x&#34;&lt;" id="n-a"')


def test_cards_and_pages_agree_on_what_is_shown(tmp_path):
    ranked, truth = many(tmp_path)

    needed = shown(ranked, truth, number=6, worst=3)
    report(ranked, truth, tmp_path, shown_queries=6, worst=3)

    assert re.findall('data-query-id="(.*?)"', (tmp_path / "report.html").read_text()) == needed["queries"]
    assert len(needed["queries"]) == 9 and json.loads((tmp_path / "metrics.json").read_text())["queries"] == 30


def test_a_median_rank_has_one_digit_after_the_point_at_most():
    metrics = {"median_rank": 12345.5, "median_rank_is_lower_bound": True, "intervals": {"median_rank": (1.0, 36.98750000000001)}}

    assert (number_text(metrics, "median_rank"), interval_text(metrics, "median_rank")) == ("≥ 12,345.5", "1 – 37")
    assert [rank_text(value, signed=True) for value in (-36.93750000000001, 2.0, -0.04, 1234567.0)] == ["-36.9", "+2", "+0", "+1,234,567"]


def test_pairs_whose_document_was_not_searched_are_not_called_documents(tmp_path):
    ranked = write_lists(tmp_path / "ranked.h5", {f"v{row}": DOCS for row in range(3)}, DOCS)
    truth = GroundTruth.of_pairs((f"v{row}", ["g0", "gone"]) for row in range(3))

    texts = {flag: left_out(report(ranked, truth, tmp_path, searched_only=flag)) for flag in (False, True)}

    pairs = "relevant pairs (query, document) point to documents that were not searched: "
    assert texts == {False: [(3, pairs + "they count as not found")], True: [(3, pairs + "left out")]}
    assert f"<li><b>3</b>{pairs}left out</li>" in (tmp_path / "report.html").read_text()


def judged_result(folder: Path, lists: dict, truth: dict, searched: list[str], task: str) -> Path:
    """A folder with the lists, found among `searched`, and what they were judged to be."""
    ranked = write_lists(folder / "ranked.h5", lists, searched, task)
    write_judged(folder / "judged.h5", judged_of(ranked, judge(ranked, GroundTruth.of_pairs(truth.items())), ""))
    return folder


def test_a_comparison_has_the_words_of_its_queries_and_their_title_once(tmp_path):
    cards = write_cards(tmp_path / "cards")
    compare(result(tmp_path / "a", BEFORE), result(tmp_path / "b", AFTER), tmp_path / "videos", cards=cards, resamples=9, tosses=9)
    order = [f"v{row}" for row in range(12)]
    sides = [judged_result(tmp_path / f"goods{len(own)}", {"g2": own}, {"g2": ["v3"]}, order, "goods2video") for own in (order, order[::-1][:11])]
    compare(*sides, tmp_path / "goods", cards=cards, resamples=9, tosses=9)

    videos, good = ((tmp_path / name / "compare.html").read_text() for name in ("videos", "goods"))

    for query in ("v3", "v4"):
        own = re.search(rf'data-query-id="{query}">(.*?)</header>', videos, re.DOTALL).group(1)  # type: ignore[union-attr]
        said = [("Caption", f"Caption of {query}"), ("Recognised text", "50 % off")] if query == "v3" else []  # v4 has no card
        assert re.findall("<dt>(.*?)</dt><dd>(.*?)</dd>", own) == said
    header = re.search(r'data-query-id="g2">(.*?)</header>', good, re.DOTALL).group(1)  # type: ignore[union-attr]
    assert '<p class="question">Tea &lt;script&gt;' in header and header.count("Tea &lt;script&gt;alert") == 1
    assert "<dt>Title</dt>" not in good


def test_a_comparison_marks_a_median_rank_that_is_a_lower_bound(tmp_path):
    said = compare(result(tmp_path / "a", BEFORE), result(tmp_path / "b", AFTER), tmp_path / "out", resamples=9, tosses=9)
    rank = {"a": 16.0, "b": 2.5, "difference": -13.5, "interval": [-14.0, -9.987500000000001], "p": 0.25}

    def row(**bounds: bool) -> tuple[list[str], bool]:
        page = render_comparison({**said, "metrics": {**said["metrics"], "median_rank": {**rank, **bounds}}}, [], Cards(None))
        own = re.search('data-metric="median_rank">(.*?)</tr>', page).group(1)  # type: ignore[union-attr]
        return re.findall("<td.*?>(.*?)</td>", own), "≥: half of the queries or more" in page

    numbers = ["-13.5", "-14 to -10", "0.2500"]
    assert row(a_is_lower_bound=True, b_is_lower_bound=False) == (["≥ 16", "2.5", *numbers], True)
    assert row(a_is_lower_bound=False, b_is_lower_bound=True) == (["16", "≥ 2.5", *numbers], True)
    assert row(a_is_lower_bound=False, b_is_lower_bound=False) == row() == (["16", "2.5", *numbers], False)


def test_a_comparison_says_where_the_documents_were_others(tmp_path):
    a = result(tmp_path / "a", BEFORE)
    more = judged_result(tmp_path / "more", AFTER, TRUTH, [*DOCS, "g15"], "video2goods")
    said = compare(a, more, tmp_path / "out", resamples=9, tosses=9)
    alike = {**said, "b": {**said["b"], "docs": 15}, "other_documents": False}

    pages = [(tmp_path / "out/compare.html").read_text()]
    pages += [render_comparison(own, [], Cards(None)) for own in ({**alike, "other_documents": True}, alike)]

    notes = [re.findall('role="note">(.*?)</p>', page, re.DOTALL) for page in pages]
    assert notes[0] == ["A searched 15 documents, B 16, not the same ones: numbers differ for that reason, too."]
    assert notes[1:] == [["A searched 15 documents, B 15, not the same ones: numbers differ for that reason, too."], []]
