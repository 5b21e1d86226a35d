from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from evaluate.compare import compare, main
from evaluate.judging.ground_truth import GroundTruth
from evaluate.judging.judged import judge
from evaluate.judging.judged_file import judged_of, write_judged
from evaluate.judging.paired import changed_most, open_result, pair
from tests.evaluate.cards import write_cards
from tests.evaluate.dumps import write_lists

DOCS = [f"g{number}" for number in range(15)]
TRUTH = {"v1": ["g2", "g0"], "v2": ["g14", "gone"], "v3": ["g12"], "v4": ["g5"], "v5": ["g1"]}
BEFORE = {"v1": DOCS, "v2": DOCS[::-1], "v3": DOCS, "v4": DOCS, "v5": DOCS}
AFTER = {"v5": DOCS, "v4": DOCS[::-1], "v3": ["g12", *DOCS[:12], *DOCS[13:]], "v1": DOCS, "v6": DOCS}


def result(folder: Path, lists: dict, truth: dict = TRUTH, task: str = "video2goods", **flags: bool) -> Path:
    """The folder of a reported result; the report's page is left out."""
    ranked = write_lists(folder / "ranked.h5", lists, DOCS, task)
    write_judged(folder / "judged.h5", judged_of(ranked, judge(ranked, GroundTruth.of_pairs(truth.items()), **flags), ""))
    return folder


def test_queries_are_paired_by_id_and_those_of_one_side_are_counted(tmp_path):
    a, b = (open_result(result(tmp_path / name, lists, {**TRUTH, "v6": ["g3"]})) for name, lists in (("a", BEFORE), ("b", AFTER)))

    paired = pair(a, b, ("a", "b"))

    assert paired.ids.astype(str).tolist() == ["v1", "v3", "v4", "v5"] and (paired.only_a, paired.only_b) == (1, 1)
    assert paired.a.first.tolist() == [1, 13, 6, 2] and paired.b.first.tolist() == [1, 1, 10, 2]
    assert changed_most(paired, "map", 5) == ([1], [2]) and changed_most(paired, "map", 0) == ([], [])
    with pytest.raises(ValueError, match="--by colour: choose among recall@1, recall@5"):
        changed_most(paired, "colour", 5)


def test_the_order_of_what_changed_is_that_of_sorting_by_hand(tmp_path):
    draw = np.random.default_rng(0)
    queries = [f"v{row}" for row in range(80)]
    sides = [{query: [DOCS[place] for place in draw.permutation(15)] for query in queries} for _ in "ab"]
    truth = {query: [DOCS[int(draw.integers(15))]] for query in queries}
    paired = pair(*(open_result(result(tmp_path / name, lists, truth)) for name, lists in zip("ab", sides)), ("a", "b"))

    gained, lost = changed_most(paired, "hit@5", 20)

    def gain(query: str) -> tuple[float, float]:
        before, after = (lists[query].index(truth[query][0]) + 1 for lists in sides)
        return float(after <= 5) - float(before <= 5), before - after

    ranked = sorted(queries, key=lambda query: (gain(query), -queries.index(query)), reverse=True)
    assert [queries[place] for place in gained] == [query for query in ranked if gain(query)[0] > 0][:20]
    ranked = sorted(queries, key=lambda query: (gain(query), queries.index(query)))
    assert [queries[place] for place in lost] == [query for query in ranked if gain(query)[0] < 0][:20]


def test_differences_are_b_less_a_with_interval_and_p(tmp_path):
    folders = [result(tmp_path / name, lists) for name, lists in (("a", BEFORE), ("b", AFTER))]

    said = compare(*folders, tmp_path / "out", resamples=200, tosses=100)

    assert json.loads((tmp_path / "out/compare.json").read_text()) == said
    hit = said["metrics"]["hit@1"]
    assert (hit["a"], hit["b"], hit["difference"]) == (0.25, 0.5, 0.25)
    assert hit["interval"] == [0, 0.75] and hit["p"] == 1.0  # one of four queries changed: either way of tossing it is as large
    assert said["metrics"]["median_rank"]["difference"] == (1 + 2) / 2 - (2 + 6) / 2
    assert (said["better"], said["worse"], said["same"]) == (1, 1, 2)
    assert said["most_gained"] == [
        {"query": "v3", "a": {"map": pytest.approx(1 / 13), "first_rank": 13}, "b": {"map": 1.0, "first_rank": 1}},
    ]
    assert [own["query"] for own in said["most_lost"]] == ["v4"]


def test_the_page_shows_both_lists_of_what_changed_and_fetches_nothing(tmp_path):
    folders = [result(tmp_path / name, lists) for name, lists in (("a", BEFORE), ("b", AFTER))]

    compare(*folders, tmp_path / "out", cards=write_cards(tmp_path / "cards"), resamples=20, tosses=20)

    page = (tmp_path / "out/compare.html").read_text()
    article = re.search(r'data-query-id="v3">(.*?)</article>', page, re.DOTALL).group(1)  # type: ignore[union-attr]
    shown = re.findall(r'data-doc-id="(\w+)" data-rank="(\d)" data-hit="(\w+)"', article)
    assert shown == [(f"g{row}", str(row + 1), "false") for row in range(5)] + [("g12", "1", "true")] + [
        (f"g{row}", str(row + 2), "false") for row in range(4)
    ]
    assert "rank 13 <span" in article and "</span> rank 1</h3>" in article and article.count("<img") == 13
    assert "Tea &lt;script&gt;alert" in page and page.count("<script") == 1
    sources = re.findall(r'(?:src|href)="(.*?)"', page)
    assert sources and all(source.startswith(("data:", "#")) for source in sources)
    assert 'data-metric="median_rank"' in page and page.count('data-sign="worse"') >= 1


def test_folders_without_lists_are_compared_by_numbers_alone(tmp_path):
    folders = [result(tmp_path / name, lists) for name, lists in (("a", BEFORE), ("b", AFTER))]
    whole = compare(*folders, tmp_path / "out", resamples=20, tosses=20)
    (tmp_path / "a/ranked.h5").unlink()

    again = compare(*folders, tmp_path / "out", resamples=20, tosses=20)

    shown, shown_before = again.pop("shown"), whole.pop("shown")
    assert again == whole and shown["queries"] == shown_before["queries"] and set(shown["docs"]) < set(shown_before["docs"])
    assert "no ranked.h5 in its folder" in (tmp_path / "out/compare.html").read_text()


def test_results_of_an_older_program_are_judged_by_a_ground_truth(tmp_path):
    folders = [result(tmp_path / name, lists) for name, lists in (("a", BEFORE), ("b", AFTER))]
    whole = compare(*folders, tmp_path / "out", resamples=20, tosses=20)
    (tmp_path / "a/judged.h5").unlink()
    (tmp_path / "truth.tsv").write_text("".join(f"{query}\t{','.join(ids)}\n" for query, ids in TRUTH.items()))

    with pytest.raises(ValueError, match=r"a: no judged.h5, which evaluate.report writes; report again, or give --ground_truth"):
        compare(*folders, tmp_path / "out")
    assert compare(*folders, tmp_path / "out", ground_truth=tmp_path / "truth.tsv", resamples=20, tosses=20) == whole


def test_results_that_do_not_belong_together_are_refused(tmp_path):
    a = result(tmp_path / "a", BEFORE)
    other_task = result(tmp_path / "task", BEFORE, task="goods2video")
    other_truth = result(tmp_path / "truth", BEFORE, {**TRUTH, "v3": ["g12", "g1"]})
    other_queries = result(tmp_path / "queries", {"w1": DOCS}, {"w1": ["g1"]})
    searched_only = result(tmp_path / "searched", BEFORE, searched_only=True)

    for other, said in (
        (other_task, "of video2goods, .*of goods2video: compare two results of one task"),
        (other_truth, "two ground truths: query 'v3' has 1 relevant documents in .*, 2 in .*1 such queries"),
        (other_queries, "no query is in both: .*'v1' and others, .*'w1' and others"),
        (searched_only, "two ground truths: query 'v2' has 2 relevant documents"),
    ):
        with pytest.raises(ValueError, match=said):
            compare(a, other, tmp_path / "out")
    with pytest.raises(ValueError, match="--resamples 0 --tosses 10 --shown 1: at least 1 draw"):
        compare(a, a, tmp_path / "out", resamples=0, tosses=10, shown=1)
    (a / "judged.h5").write_text("no")
    with pytest.raises(ValueError, match=r"judged.h5: not what evaluate.report writes"):
        compare(a, a, tmp_path / "out")


def test_the_command_prints_a_table_and_writes_beside_b(tmp_path, capsys):
    result(tmp_path / "a", BEFORE)
    result(tmp_path / "b", AFTER)

    main([str(tmp_path / "a"), str(tmp_path / "b"), "--resamples", "50", "--tosses", "50", "--by", "mrr"])

    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "4 queries in both (1 in A alone: left out)"
    [row] = [line.split() for line in lines if line.startswith("hit@1 ")]
    assert row[:4] == ["hit@1", "0.2500", "0.5000", "+0.2500"]
    assert lines[-1] == f"by mrr: 1 queries better in B, 1 worse, 2 the same -> {tmp_path / 'b/compare/compare.html'}"
    assert sorted(path.name for path in (tmp_path / "b/compare").iterdir()) == ["compare.html", "compare.json"]
