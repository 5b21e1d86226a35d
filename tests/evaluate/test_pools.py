"""Queries ranked with their own candidates alone, and the contest's table."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from evaluate.dump import Dump
from evaluate.judging.ground_truth import GroundTruth
from evaluate.judging.judged import judge, summary
from evaluate.pools import main, search_pools
from evaluate.ranked import Ranked
from evaluate.report import report
from evaluate.search import search
from evaluate.submission import main as submit
from tests.evaluate.dumps import write_dump

QUERIES = np.eye(4, dtype=np.float32)[:3]
DOCS = np.random.default_rng(0).standard_normal((30, 4)).astype(np.float32)
POOLS = {"q0": list(range(12)), "q1": [29, 3, 17], "q2": [5, 5, 20, 21, 22, 23]}


@pytest.fixture
def dumps(tmp_path: Path) -> tuple[Dump, Dump]:
    write_dump(tmp_path / "query", [("query", QUERIES, ["q0", "q1", "q2"])])
    write_dump(tmp_path / "goods", [("goods", DOCS, [str(number) for number in range(30)])])
    return Dump(tmp_path / "query"), Dump(tmp_path / "goods")


def pools_file(folder: Path, pools: dict[str, list[int]] = POOLS) -> Path:
    (folder / "pools.tsv").write_text("".join(f"{query}\t{','.join(map(str, docs))}\n" for query, docs in pools.items()))
    return folder / "pools.tsv"


def lists_of(ranked: Ranked) -> dict[str, list[tuple[str, float]]]:
    ranks, scores = ranked.lists(range(ranked.queries), ranked.depth)
    named = zip(ranked.query_ids.tolist(), ranks, scores)
    return {query.decode(): [(ranked.doc_ids[doc].decode(), float(score)) for doc, score in zip(*row) if doc >= 0] for query, *row in named}


def test_lists_are_those_of_a_search_without_all_that_is_no_candidate(dumps: tuple[Dump, Dump], tmp_path: Path) -> None:
    everything = lists_of(Ranked(search(*dumps, tmp_path / "all", "query2goods", quiet=True)))

    ranked = Ranked(search_pools(*dumps, pools_file(tmp_path), tmp_path / "pools", "query2goods"))

    wanted = {query: [one for one in everything[query] if int(one[0]) in POOLS[query]] for query in POOLS}
    assert lists_of(ranked) == wanted and [len(found) for found in wanted.values()] == [12, 3, 5]
    assert (ranked.depth, ranked.candidates, ranked.attributes.docs) == (12, 12, 30)
    assert len((tmp_path / "pools/run.trec").read_text().splitlines()) == 20


def test_metrics_are_over_candidates_and_ndcg_at_5_is_the_contests(dumps: tuple[Dump, Dump], tmp_path: Path) -> None:
    ranked = Ranked(search_pools(*dumps, pools_file(tmp_path), tmp_path, "query2goods", quiet=True))
    lists = {query: [id for id, _ in found] for query, found in lists_of(ranked).items()}
    relevant = {"q0": [lists["q0"][1], lists["q0"][4], lists["q0"][9]], "q1": [lists["q1"][2]], "q2": [lists["q2"][0]]}
    truth = GroundTruth.of_pairs(relevant.items())

    found = summary(ranked, judge(ranked, truth))

    q0 = (1 / math.log2(3) + 1 / math.log2(6)) / (1 + 1 / math.log2(3) + 0.5)
    assert found["ndcg@5"] == pytest.approx((q0 + 0.5 + 1) / 3)
    assert [name for name in found if name.startswith("recall@")] == ["recall@1", "recall@5", "recall@10"] and found["recall@10"] == 1
    assert found["candidates"] == 12 and found["search"] == "exact inner product among each query's own candidates"
    assert report(ranked, truth, tmp_path / "report", resamples=0)["ndcg@5"] == found["ndcg@5"]
    assert "nDCG@5" in (tmp_path / "report/report.html").read_text()


def test_the_command_says_what_is_missing(dumps: tuple[Dump, Dump], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = pools_file(tmp_path, {"q0": [1, 99], "q2": [7]})
    flags = ["--queries", str(tmp_path / "query"), "--docs", str(tmp_path / "goods"), "--task", "query2goods", "--out", str(tmp_path / "out")]

    main([*flags, "--pools", str(file)])

    assert {query: [id for id, _ in found] for query, found in lists_of(Ranked(tmp_path / "out/ranked.h5")).items()} == {
        "q0": ["1"],
        "q1": [],
        "q2": ["7"],
    }
    said = capsys.readouterr().out
    assert "1 candidates were not embedded" in said and "1 of 3 queries have no candidates" in said
    with pytest.raises(ValueError, match=r"no candidate of any query was embedded; its queries are spelled 'x', those of the dump 'q0'"):
        search_pools(*dumps, pools_file(tmp_path, {"x": [1]}), tmp_path / "none", "query2goods")


def test_a_submission_has_five_products_a_query(dumps: tuple[Dump, Dump], tmp_path: Path) -> None:
    ranked = Ranked(search_pools(*dumps, pools_file(tmp_path, POOLS | {"q1": [29, 3, 17, 1, 2]}), tmp_path, "query2goods", quiet=True))

    submit(["--ranked", str(tmp_path / "ranked.h5"), "--out", str(tmp_path / "submission.csv")])

    lines = (tmp_path / "submission.csv").read_text().splitlines()
    assert lines[0] == "query-id,product1,product2,product3,product4,product5"
    assert lines[1:] == [",".join([query, *(id for id, _ in found[:5])]) for query, found in lists_of(ranked).items()]

    search_pools(*dumps, pools_file(tmp_path), tmp_path, "query2goods", quiet=True)
    with pytest.raises(ValueError, match=r"query q1 has 3 results; a submission needs 5 of each query"):
        submit(["--ranked", str(tmp_path / "ranked.h5"), "--out", str(tmp_path / "again.csv")])
    assert not (tmp_path / "again.csv").exists()
