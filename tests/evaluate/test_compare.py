from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import h5py
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


def result(
    folder: Path, lists: dict, truth: dict = TRUTH, task: str = "video2goods", searched: Sequence[str] = DOCS, split: str = "", **flags: bool
) -> Path:
    """The folder of a reported result among the documents listed and `searched`; the report's page is left out."""
    searched = list(dict.fromkeys([*searched, *(document for ids in lists.values() for document in ids)]))
    ranked = write_lists(folder / "ranked.h5", lists, searched, task)
    write_judged(folder / "judged.h5", judged_of(ranked, judge(ranked, GroundTruth.of_pairs(truth.items()), **flags), split))
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
    same_counts = result(tmp_path / "counts", BEFORE, {**TRUTH, "v1": ["g2", "g3"], "v4": ["g6"]})
    searched_only = result(tmp_path / "searched", BEFORE, searched_only=True)

    for other, said in (
        (other_task, "of video2goods, .*of goods2video: compare two results of one task"),
        (other_truth, "two ground truths: query 'v3' has 1 relevant documents in .*, 2 in .*1 such queries"),
        (other_queries, "no query is in both: .*'v1' and others, .*'w1' and others"),
        (same_counts, "two ground truths: query 'v1' has 2 relevant documents in .*, 2 others in .*2 such queries"),
        (searched_only, "two ground truths: query 'v2' has 2 relevant documents"),
    ):
        with pytest.raises(ValueError, match=said):
            compare(a, other, tmp_path / "out")
    with pytest.raises(ValueError, match="--resamples 0 --tosses 10 --shown 1: at least 1 draw"):
        compare(a, a, tmp_path / "out", resamples=0, tosses=10, shown=1)
    (a / "judged.h5").write_text("no")
    with pytest.raises(ValueError, match=r"judged.h5: not what evaluate.report writes"):
        compare(a, a, tmp_path / "out")
    with pytest.raises(ValueError, match=r"nowhere: no such folder; give one that evaluate.report wrote"):
        compare(tmp_path / "nowhere", a, tmp_path / "out")


@pytest.mark.parametrize("searched", [DOCS, DOCS[::-1] + ["far away"]])
def test_lists_of_two_depths_are_compared_at_the_smaller_one(tmp_path, capsys, searched):
    truth = {f"v{row}": [DOCS[row], DOCS[14 - row]] for row in range(7)}
    deep = {query: [DOCS[(row + row * place) % 15] for place in range(15)] if row in (1, 4) else DOCS for row, query in enumerate(truth)}
    a = result(tmp_path / "a", deep, truth)
    b = result(tmp_path / "b", {query: ids[:10] for query, ids in deep.items()}, truth, searched=searched)
    cut = result(tmp_path / "cut", {query: ids[:10] for query, ids in deep.items()}, truth)

    main([str(a), str(b), "--resamples", "50", "--tosses", "50"])
    said = json.loads((b / "compare/compare.json").read_text())

    assert said["depth"] == 10 and (said["a"]["top_k"], said["b"]["top_k"]) == (15, 10)
    assert all(own["difference"] == 0 and own["interval"] == [0, 0] and own["p"] == 1 for own in said["metrics"].values())
    assert "A has 15 results a query, B 10: the first 10 of both are compared" in capsys.readouterr().out.splitlines()
    assert (said["better"], said["worse"]) == (0, 0)
    assert compare(cut, cut, tmp_path / "out", resamples=50, tosses=50)["metrics"] == said["metrics"]


def test_other_documents_and_other_splits_are_said(tmp_path, capsys):
    a = result(tmp_path / "a", BEFORE, split="test")
    turned = result(tmp_path / "turned", BEFORE, searched=DOCS[::-1], split="test")
    more = result(tmp_path / "more", BEFORE, searched=[*DOCS, *(f"far{row}" for row in range(1000))], split="validation")
    other = result(tmp_path / "other", {"v1": [*DOCS[:14], "else"]}, {"v1": TRUTH["v1"]}, searched=DOCS[:14])
    flags = ["--resamples", "9", "--tosses", "9"]

    main([str(a), str(turned), *flags])
    said = capsys.readouterr().out
    assert "searched" not in said and "split" not in said
    main([str(a), str(more), *flags])
    said = capsys.readouterr().out.splitlines()
    assert "A searched 15 documents, B 1,015, not the same ones: numbers differ for that reason, too" in said
    assert "A is of split test, B of split validation" in said
    main([str(a), str(other), *flags])
    assert "A searched 15 documents, B 15, not the same ones: numbers differ for that reason, too" in capsys.readouterr().out

    kept = json.loads((more / "compare/compare.json").read_text())
    assert kept["other_documents"] is True and (kept["a"]["split"], kept["b"]["split"]) == ("test", "validation")
    assert json.loads((turned / "compare/compare.json").read_text())["other_documents"] is False


def test_marks_of_other_lists_than_those_beside_them_are_refused(tmp_path):
    a = result(tmp_path / "a", BEFORE)
    for name, lists in (("fewer", {"v1": DOCS}), ("turned", {query: ids[::-1] for query, ids in BEFORE.items()})):
        b = result(tmp_path / name, BEFORE)
        write_lists(b / "ranked.h5", lists, DOCS)
        with pytest.raises(ValueError, match=f"{name}: judged.h5 was made of other lists than ranked.h5 beside it holds; report again"):
            compare(a, b, tmp_path / "out")


def test_lists_of_a_program_without_their_checksum_are_known_by_their_queries_and_depth(tmp_path):
    a = result(tmp_path / "a", BEFORE)
    for file in ("judged.h5", "ranked.h5"):
        with h5py.File(a / file, "r+") as old:
            old.attrs["lists"] = ""

    assert compare(a, a, tmp_path / "out", resamples=9, tosses=9)["same"] == 5
    for lists in ({"w1": DOCS}, {query: ids[:12] for query, ids in BEFORE.items()}):
        write_lists(a / "ranked.h5", lists, DOCS)
        with h5py.File(a / "ranked.h5", "r+") as old:
            old.attrs["lists"] = ""
        with pytest.raises(ValueError, match=r"other lists than ranked.h5 beside it holds; report again"):
            compare(a, a, tmp_path / "out")


def test_a_median_rank_that_is_a_bound_is_marked(tmp_path, capsys):
    truth = {"v1": ["g12"], "v2": ["g13"], "v3": ["g2"]}
    a = result(tmp_path / "a", dict.fromkeys(truth, DOCS[:10]), truth)
    b = result(tmp_path / "b", dict.fromkeys(truth, DOCS[5:]), truth)

    main([str(a), str(b), "--resamples", "9", "--tosses", "9"])

    own = json.loads((b / "compare/compare.json").read_text())["metrics"]["median_rank"]
    assert (own["a"], own["a_is_lower_bound"], own["b"], own["b_is_lower_bound"]) == (11, True, 9, False)
    [row] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("median rank")]
    assert row.split()[2:6] == ["≥", "11.0", "9.0", "-2.0"]


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
