"""Queries as items of a packed split: which there are, what they are called, and what they answer to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from evaluate.judging.ground_truth import read_ground_truth
from pipeline.pack import pack
from pipeline.packing.queries import LONGEST_ID, query_item_id
from pipeline.shards import ShardSet
from tests.pipeline.corpora import real20m_files, write_catalog, write_files
from tests.pipeline.packed import ids


def record(id: str, *queries: str, **more: Any) -> dict[str, Any]:
    """A line of a catalog: a good where the id begins with g, a video where with v."""
    return {"id": id, "domain": {"g": "goods", "v": "video"}[id[0]], "title": f"title of {id}", "queries": list(queries)} | more


def packed_test(tmp_path: Path, records: list[dict[str, Any]], files: dict[str, str] | None = None) -> ShardSet:
    """The packed test split of a catalog with these records."""
    return ShardSet(pack(write_catalog(tmp_path / "corpus", records, files, name="test.jsonl"), tmp_path / "out", workers=1)["test"])


def truth(shards: ShardSet, task: str) -> dict[str, tuple[str, ...]]:
    path = shards.ground_truth(task)
    return {} if path is None else dict(read_ground_truth(path).relevant)


def test_each_query_that_a_document_answers_is_an_item_of_its_words_alone(tmp_path: Path) -> None:
    lines = [record("g1", "blue kettle", "茶"), record("g2", "茶", role="document"), record("v1", "asked only", role="query"), record("v2", "茶")]

    test = packed_test(tmp_path, lines)

    assert test.counts == {"goods": 2, "query": 2, "video": 2} and ids(test, "query") == ["blue kettle", "茶"]
    (number,) = test.of_domain("query", roles=("query",))
    sample = test.shard(number).sample(1)
    assert sample.record == {"id": "茶", "domain": "query", "words": {"title": "茶"}, "queries": [], "labels": {}}
    assert sample.members == ("json",) and test.shards[number].with_queries == 0
    assert truth(test, "query2goods") == {"blue kettle": ("g1",), "茶": ("g1", "g2")} and truth(test, "query2video") == {"茶": ("v2",)}
    assert test.manifest["ground_truth"]["query2goods"] == "found by the query" and test.ground_truth("query2live") is None


def test_words_that_make_no_line_of_a_ground_truth_file_get_a_name_that_no_words_have(tmp_path: Path) -> None:
    odd = ["two\tcolumns", "two\nlines", "~tilde", "x" * (LONGEST_ID + 1)]
    plain = ["a, b", "two  blanks", "50 % & more #1", "x" * LONGEST_ID]

    test = packed_test(tmp_path, [record("g1", *odd, *plain)])

    named = ids(test, "query")
    assert named[4:] == plain and len(set(named)) == 8
    assert all(id.startswith("~") and len(id) == 33 for id in named[:4]) and named[2] == query_item_id("~tilde")
    assert truth(test, "query2goods") == dict.fromkeys(named, ("g1",))
    shard = test.shard(test.of_domain("query")[0])
    assert [shard.sample(row).words()["title"] for row in range(8)] == odd + plain


def test_a_train_split_has_no_query_items(tmp_path: Path) -> None:
    folders = pack(write_catalog(tmp_path / "corpus", [record("g1", "kettle", split=["train", "val"])]), tmp_path / "out", workers=1, vocab_size=0)

    assert ShardSet(folders["train"]).counts == {"goods": 1} and ShardSet(folders["val"]).counts == {"goods": 1, "query": 1}


def test_queries_that_a_split_lists_as_items_are_all_it_has(tmp_path: Path) -> None:
    own = {"id": "q-7", "domain": "query", "title": "Kettle, please", "queries": ["kettle"]}

    test = packed_test(tmp_path, [record("g1", "kettle", "tea"), own])

    assert ids(test, "query") == ["q-7"] and truth(test, "query2goods") == {"q-7": ("g1",)}
    assert test.manifest["ground_truth"] == {"query2goods": "shared queries"}


def test_a_ground_truth_file_of_a_catalog_names_queries_by_their_words(tmp_path: Path) -> None:
    lines = [record("g1", "kettle"), record("g2", "kettle"), record("v1", "kettle")]

    test = packed_test(tmp_path, lines, {"ground_truth_query2goods.tsv": "kettle\tg2\n"})

    assert truth(test, "query2goods") == {"kettle": ("g2",)} and truth(test, "query2video") == {"kettle": ("v1",)}
    assert test.manifest["ground_truth"]["query2goods"] == "file"


def test_a_document_that_was_rejected_answers_nothing(tmp_path: Path) -> None:
    gone = {"images": ["gone.jpg"]}

    test = packed_test(tmp_path, [record("g1", "kettle", "tea", **gone), record("g2", "kettle")])

    assert ids(test, "query") == ["kettle", "tea"] and truth(test, "query2goods") == {"kettle": ("g2",)}


def test_the_query_column_of_real20m_test_files_is_asked_and_its_gallery_answers(tmp_path: Path) -> None:
    columns = "\tgoods\t{}\t{}/{}.jpg\t{}/{}.txt\n"
    files = real20m_files() | {
        "test_file/all_goods.txt": "101"
        + columns.format("Coat", 101, 101, 101, 101)
        + "50102"
        + columns.format("girl&#39;s", 102, 50102, 102, 50102),
        "test_file/goods_query.txt": "101" + columns.format("Jacket", 101, 101, 101, 101),
        "test_file/all_videos.txt": "100203\tphoto\tCoat\t9/a_0.jpg\t203/100203.txt\n50204\tphoto\tnone\t9/a_1.jpg\t204/50204.txt\n",
        "test_file/photo_query.txt": "205\tphoto\tkettle\tnone\t205/205.txt\n",
    }

    test = ShardSet(pack(write_files(tmp_path / "corpus", files), tmp_path / "out", workers=1, splits=["test"])["test"])

    assert ids(test, "query") == ["Coat", "girl's"]
    assert truth(test, "query2goods") == {"Coat": ("101",), "girl's": ("50102",)} and truth(test, "query2video") == {"Coat": ("100203",)}
    good = test.shard(test.of_domain("goods", roles=("both",))[0]).sample(0)
    assert good.words() == {"title": "A coat & hood"} and good.queries() == [] and test.queries() == []


def test_a_split_without_queries_has_no_query_items_and_says_what_would_give_it_some(tmp_path: Path) -> None:
    test = packed_test(tmp_path, [record("g1")])

    assert test.counts == {"goods": 1} and test.manifest["ground_truth"] == {}
    with pytest.raises(ValueError, match=r"no items of domain query \(it holds 1 goods\); queries are packed with a split .* again with --overwrite"):
        test.require_domains("query", "goods")


def test_a_split_is_said_to_have_as_many_queries_as_can_be_searched_with(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packed_test(tmp_path, [record("g1", "kettle", "tea"), record("v1", "only asked", role="query")])

    assert "test: 1 goods, 1 video, 2 queries in 3 shards" in capsys.readouterr().out
