"""KDD Cup's multimodal recall files: products with their regions, queries with their candidates, and every way in which a row is broken."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.pack import main, pack
from pipeline.shards import ShardSet
from pipeline.sources import open_source
from pipeline.words import counted_vocabulary
from tests.pipeline.bad_server import serving
from tests.pipeline.little_features import feature, samples
from tests.pipeline.little_kddcup import encoded, row, write_little_kddcup, write_rows
from tests.pipeline.packed import content, ids, rejected

REGIONS = np.arange(12, dtype=np.float32).reshape(3, 4) / 8
BOXES = np.array([[0, 0, 2, 2], [0, 0, 9, 9], [1, 1, 6, 6]], np.float32)


@pytest.fixture(scope="module")
def little(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kddcup")
    pack(write_little_kddcup(folder / "corpus"), folder / "shards", workers=1, shard_samples=50)
    return folder


def test_a_row_becomes_a_product_with_its_largest_regions_and_its_query(tmp_path: Path) -> None:
    write_rows(tmp_path / "corpus/train.tsv", [row("7", " Red&amp;blue SHOES ", 70, REGIONS, BOXES)])

    main(["--data", str(tmp_path / "corpus"), "--out", str(tmp_path / "shards"), "--workers", "1", "--regions", "2", "--region_type", "float32"])

    split = ShardSet(tmp_path / "shards/train")
    product = samples(split, "goods")["7"]
    assert product.members == ("json", "boxes.npy", "region_labels.npy", "regions.npy")
    assert feature(product, "regions").tolist() == REGIONS[[1, 2]].tolist() and feature(product, "regions").dtype == np.float32
    assert feature(product, "boxes").tolist() == BOXES[[1, 2]].tolist() and feature(product, "region_labels").tolist() == [1, 2]
    assert [query.words for query in product.queries()] == ["Red&blue SHOES"] and not product.words()
    assert counted_vocabulary(split.folder).words[4:] == ("blue", "red", "shoes")


def test_regions_are_packed_as_float16_unless_they_are_too_large_for_it(tmp_path: Path) -> None:
    write_rows(tmp_path / "corpus/train.tsv", [row("7", "shoes", 70, REGIONS), row("8", "bag", 71, REGIONS + 1e5)], head=False)

    folder = pack(tmp_path / "corpus", tmp_path / "shards", workers=1)["train"]

    products = samples(ShardSet(folder), "goods")
    assert feature(products["7"], "regions").dtype == np.float16 and feature(products["7"], "regions").tolist() == REGIONS.tolist()
    assert rejected(folder) == [
        ("8", "train.tsv", "line 2: regions have a number that is too large for float16; pack them as float32 (--region_type)")
    ]


def test_a_product_on_several_rows_has_the_queries_of_all_of_them(tmp_path: Path) -> None:
    other = row("7", "kettle", 72, REGIONS + 1)
    write_rows(tmp_path / "corpus/train.tsv", [row("7", "shoes", 70, REGIONS), row("9", "shoes", 71, REGIONS), row("7", "boots", 71, REGIONS), other])

    folder = pack(tmp_path / "corpus", tmp_path / "shards", workers=1)["train"]

    products = samples(ShardSet(folder), "goods")
    assert [query.words for query in products["7"].queries()] == ["shoes", "boots"]
    assert [query.words for query in products["9"].queries()] == ["shoes"]
    assert rejected(folder) == [("7", "train.tsv", "line 5: product 7 is on line 2 already, with other regions")]


def test_elsewhere_queries_are_items_with_candidates_and_what_the_answers_say_is_relevant(little: Path) -> None:
    val, test = ShardSet(little / "shards/val"), ShardSet(little / "shards/testA")
    answers = json.loads((little / "corpus/valid_answer.json").read_text())

    assert val.counts == {"goods": 24, "query": 24} and test.counts == val.counts
    assert samples(val, "query")["5"].words() == {"title": "blue bag"}
    assert not any(sample.queries() for sample in samples(val, "goods").values())
    truth, pools = val.ground_truth("query2goods"), val.pools("query2goods")
    assert truth is not None and pools is not None
    assert dict(line.split("\t") for line in truth.read_text().splitlines()) == {query: str(ids[0]) for query, ids in answers.items()}
    lists = {query: ids.split(",") for query, ids in (line.split("\t") for line in pools.read_text().splitlines())}
    rows = [line.split("\t") for line in (little / "corpus/valid.tsv").read_text().splitlines()[1:]]
    assert lists == {query: [line[0] for line in rows if line[8] == query] for query in answers} and len(lists["0"]) == 12
    assert test.ground_truth("query2goods") is None and test.pools("query2goods") is not None
    assert ShardSet(little / "shards/train").pools("query2goods") is None


def test_candidates_of_a_split_without_answers_come_from_elsewhere_too(little: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REELGOODS_CACHE", str(tmp_path))
    with serving(little / "shards") as server:
        pools = ShardSet(f"{server.address}/testA").pools("query2goods")

    here = ShardSet(little / "shards/testA").pools("query2goods")
    assert pools is not None and here is not None and pools != here and pools.read_bytes() == here.read_bytes()


def test_a_train_shard_is_a_range_of_the_file_and_packing_again_gives_the_same_bytes(little: Path, tmp_path: Path) -> None:
    lines = (little / "corpus/train.tsv").read_text().splitlines()[1:]

    assert ids(ShardSet(little / "shards/train"), "goods") == [line.partition("\t")[0] for line in lines]
    assert len(ShardSet(little / "shards/train").shards) == 3

    pack(little / "corpus", tmp_path / "again", workers=1, shard_samples=50)
    assert content(tmp_path / "again") == content(little / "shards")


def broken(line: str, place: int, value: str) -> str:
    columns = line.split("\t")
    return "\t".join([*columns[:place], value, *columns[place + 1 :]])


WHOLE = row("7", "shoes", 70, REGIONS)
NOT_FINITE = REGIONS.copy()
NOT_FINITE[1, 2] = np.nan


@pytest.mark.parametrize(
    ("line", "id", "reason"),
    [
        (
            WHOLE.rpartition("\t")[0],
            "",
            "8 columns; wanted 9: product_id, image_h, image_w, num_boxes, boxes, features, class_labels, query, query_id",
        ),
        (broken(WHOLE, 0, "a b"), "", "product_id is 'a b'; wanted letters, digits, _ and -"),
        (broken(WHOLE, 7, " "), "", "its query has no words"),
        (broken(WHOLE, 3, "0"), "7", "num_boxes is '0'; wanted a number above 0"),
        (broken(WHOLE, 3, "2"), "7", "boxes has 48 bytes; num_boxes 2 needs 32, for f4 [2, 4]"),
        (broken(WHOLE, 5, "AAA="), "7", "features has 2 bytes; num_boxes 3 needs 48, for f4 [3, 4]"),
        (broken(WHOLE, 5, "*"), "7", "features is no base64: "),
        (broken(WHOLE, 6, encoded(np.arange(3, dtype=np.int32))), "7", "class_labels has 12 bytes; num_boxes 3 needs 24, for i8 [3]"),
        (broken(WHOLE, 5, encoded(NOT_FINITE)), "7", "features has 1 numbers of 12 that are not finite"),
    ],
)
def test_a_broken_row_is_rejected_with_its_line_and_the_reason(tmp_path: Path, line: str, id: str, reason: str) -> None:
    write_rows(tmp_path / "corpus/train.tsv", [row("1", "bag", 1, REGIONS), line, row("2", "lamp", 2, REGIONS)])

    folder = pack(tmp_path / "corpus", tmp_path / "shards", workers=1)["train"]

    assert ids(ShardSet(folder), "goods") == ["1", "2"]
    [(product, file, said)] = rejected(folder)
    assert (product, file) == (id, "train.tsv") and said.startswith(f"line 3: {reason}")


def test_files_are_known_by_their_columns_and_may_lie_one_folder_below(tmp_path: Path) -> None:
    write_rows(tmp_path / "train/train.sample.tsv", [WHOLE])
    write_rows(tmp_path / "testB/testB.tsv", [WHOLE], head=False)

    assert open_source(tmp_path).name == "kddcup" and open_source(tmp_path).splits() == ("train", "testB")

    (tmp_path / "testB/testB.tsv").write_text("a\tb\n")
    with pytest.raises(ValueError, match="layout not recognised"):
        open_source(tmp_path)


def test_answers_of_another_form_are_refused(tmp_path: Path) -> None:
    write_rows(tmp_path / "corpus/valid.tsv", [WHOLE])
    (tmp_path / "corpus/valid_answer.json").write_text('{"70": 7}')

    with pytest.raises(ValueError, match=r"valid_answer.json: not a dictionary of query ids with a list of product ids each"):
        pack(tmp_path / "corpus", tmp_path / "shards", workers=1)
