"""The reader of the catalog layout, and how a corpus' layout is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.item import Query
from pipeline.sources import BadItem, Entry, Rejected, open_source
from pipeline.sources.catalog import Catalog
from tests.pipeline.corpora import real20m_files, write_catalog, write_files

KETTLE = {"id": "sku-7", "domain": "goods", "title": "Blue kettle"}
CLIP = {"id": "clip-3", "domain": "video", "caption": "tea time"}


def reasons(root: Path, split: str = "train") -> list[str]:
    """The reasons for which lines of the catalog are rejected."""
    return [entry.reason for entry in Catalog(root).entries(split) if isinstance(entry, Rejected)]


def items(root: Path, split: str = "train") -> dict[str, Any]:
    source = Catalog(root)
    return {entry.id: source.read(entry) for entry in source.entries(split) if isinstance(entry, Entry)}


def test_a_line_with_every_field_becomes_that_item(tmp_path: Path) -> None:
    record = {
        "id": "clip-3",
        "domain": "video",
        "role": "query",
        "title": "Tea",
        "description": "At &quot;home&quot;",
        "caption": "tea time",
        "recognised_text": "-30%",
        "images": ["clips/3/0.jpg", "./clips/3/1.png"],
        "queries": ["kettle", {"words": "tea&#39;s", "cluster": [4, 12]}, {"words": "null"}],
        "labels": {"category": ["Home", "Kitchen"], "likes": 7, "anything": None},
        "features": {"clip_512": "features/3.npy"},
    }
    write_catalog(tmp_path, [record])
    source = Catalog(tmp_path)

    (entry,) = source.entries("train")
    assert isinstance(entry, Entry)
    item = source.read(entry)

    assert (item.id, item.domain, item.role, entry.role) == ("clip-3", "video", "query", "query")
    assert item.words == {"title": "Tea", "description": 'At "home"', "caption": "tea time", "recognised_text": "-30%"}
    assert item.media == (tmp_path / "clips/3/0.jpg", tmp_path / "clips/3/1.png")
    assert item.queries == (Query(-1, "kettle"), Query(-1, "tea's", (4, 12)))
    assert item.labels == {"category": ["Home", "Kitchen"], "likes": 7, "anything": None}
    assert item.features == {"clip_512": tmp_path / "features/3.npy"}


def test_words_may_come_as_one_object_and_null_is_no_word(tmp_path: Path) -> None:
    write_catalog(tmp_path, [{"id": 12, "domain": "goods", "words": {"title": " Kettle ", "description": "null"}, "caption": None}])

    assert items(tmp_path)["12"].words == {"title": "Kettle"}


def test_a_live_stream_is_a_line_like_a_clips(tmp_path: Path) -> None:
    words = {"title": "Kettles live", "caption": "tonight", "recognised_text": "-30%"}
    write_catalog(tmp_path, [{"id": "s1", "domain": "live", "images": ["a.jpg", "b.jpg"], "queries": ["kettle"], **words}])

    item = items(tmp_path)["s1"]

    assert (item.domain, item.words, item.media) == ("live", words, (tmp_path / "a.jpg", tmp_path / "b.jpg"))


def test_a_video_file_is_the_media_of_its_item(tmp_path: Path) -> None:
    write_catalog(tmp_path, [{"id": "a", "domain": "video", "video": "clips/a.MP4"}])

    item = items(tmp_path)["a"]

    assert item.is_video_file and item.media == (tmp_path / "clips/a.MP4",)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"domain": "goods", "title": "x"}, "field id is missing; wanted text"),
        ({"id": "a b", "domain": "goods", "title": "x"}, 'field id is "a b"; wanted text without white space'),
        ({"id": "a,b", "domain": "goods", "title": "x"}, 'field id is "a,b"'),
        ({"id": "a\tb", "domain": "goods", "title": "x"}, "field id is"),
        ({"id": "", "domain": "goods", "title": "x"}, 'field id is ""'),
        ({"id": 1.5, "domain": "goods", "title": "x"}, "field id is 1.5"),
        ({"id": True, "domain": "goods", "title": "x"}, "field id is true"),
        ({"id": "a", "title": "x"}, "field domain is missing; wanted one of goods, video, live, query, image, text"),
        ({"id": "a", "domain": "good", "title": "x"}, 'field domain is "good"; wanted one of goods'),
        ({"id": "a", "domain": ["goods"], "title": "x"}, 'field domain is ["goods"]'),
        ({"id": "a", "domain": "goods", "titel": "x"}, "field titel is not known"),
        ({"id": "a", "domain": "goods", "title": 5}, "field title is 5; wanted text"),
        ({"id": "a", "domain": "goods", "words": {"name": "x"}}, "field words.name is not known"),
        ({"id": "a", "domain": "goods", "words": {"title": "x"}, "title": "y"}, "field title is given twice"),
        ({"id": "a", "domain": "goods", "images": "a.jpg"}, 'field images is "a.jpg"; wanted a list of paths'),
        ({"id": "a", "domain": "goods", "images": ["a.mp4"]}, 'field images is "a.mp4"; wanted image files'),
        ({"id": "a", "domain": "goods", "video": "a.jpg"}, 'field video is "a.jpg"; wanted a file that ends in .mp4'),
        ({"id": "a", "domain": "goods", "video": "a.mp4", "images": ["a.jpg"]}, "fields images and video are both given"),
        ({"id": "a", "domain": "goods", "title": "x", "queries": "kettle"}, 'field queries is "kettle"; wanted a list'),
        ({"id": "a", "domain": "goods", "title": "x", "queries": [7]}, "field queries is 7; wanted text or"),
        ({"id": "a", "domain": "goods", "title": "x", "queries": [{"words": "k", "cluster": ["a"]}]}, 'field queries.cluster is ["a"]'),
        ({"id": "a", "domain": "goods", "title": "x", "queries": [{"words": "k", "level": 1}]}, "field queries.level is not known"),
        ({"id": "a", "domain": "goods", "title": "x", "labels": []}, "field labels is []; wanted an object"),
        ({"id": "a", "domain": "goods", "title": "x", "features": {"Clip": "a.npy"}}, 'field features.Clip is "a.npy"; wanted the path of'),
        ({"id": "a", "domain": "goods", "title": "x", "features": {"clip": "a.pt"}}, 'field features.clip is "a.pt"'),
        ({"id": "a", "domain": "goods", "title": "x", "role": "gallery"}, 'field role is "gallery"; wanted query, document or both'),
        ({"id": "a", "domain": "goods", "title": "x", "split": "../up"}, 'field split is "../up"'),
        ({"id": "a", "domain": "goods"}, "has neither words nor media"),
        ({"id": "a", "domain": "goods", "title": "null"}, "has neither words nor media"),
        ({"id": "a", "domain": "goods", "images": ["../b.jpg"]}, "media path '../b.jpg' is not a plain path below the corpus"),
        ({"id": "a", "domain": "goods", "images": ["/etc/b.jpg"]}, "media path '/etc/b.jpg'"),
        ({"id": "a", "domain": "goods", "video": "x/../../b.mp4"}, "media path 'x/../../b.mp4'"),
        ({"id": "a", "domain": "goods", "images": ["a\x00.jpg"]}, "media path 'a\\x00.jpg'"),
        ({"id": "a", "domain": "goods", "title": "x", "features": {"clip": "../a.npy"}}, "media path '../a.npy'"),
    ],
)
def test_a_wrong_field_names_line_and_field(tmp_path: Path, record: dict[str, Any], expected: str) -> None:
    write_catalog(tmp_path, [KETTLE, record])

    (reason,) = reasons(tmp_path)

    assert reason.startswith(f"line 2: {expected}")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b'{"id": "a"', "line 1: not JSON: Expecting ',' delimiter at column 1"),
        (b"[1, 2]", "line 1: is not a JSON object"),
        (b'{"id": "a", "domain": "goods", "title": "\xff"}', "line 1: not UTF-8 text: byte 0xff at position 41"),
        (b'{"id": "\\ud800", "domain": "goods", "title": "x"}', "line 1: has a lone surrogate escape, which is no character"),
        (b'{"id": "a", "domain": "goods", "title": "x", "labels": {"price": NaN}}', "line 1: NaN is not JSON"),
        (b"[" * 100_000, "line 1: is nested too deeply"),
        (b'{"id": ' + b"9" * 5000 + b"}", "line 1: not JSON: Exceeds the limit"),
    ],
)
def test_a_line_that_is_not_json_is_named(tmp_path: Path, line: bytes, expected: str) -> None:
    write_files(tmp_path, {"catalog.jsonl": line + b"\n\n" + b'{"id": "b", "domain": "goods", "title": "x"}\n'})

    (reason,) = reasons(tmp_path)

    assert reason.startswith(expected)
    assert list(items(tmp_path)) == ["b"]


def test_lines_say_their_split_and_a_line_may_be_in_several(tmp_path: Path) -> None:
    write_catalog(tmp_path, [{**KETTLE, "split": ["test", "train"]}, CLIP, {**CLIP, "id": "clip-4", "split": "dev"}])
    source = Catalog(tmp_path)

    assert source.splits() == ("train", "test", "dev")
    assert {split: list(items(tmp_path, split)) for split in source.splits()} == {"train": ["sku-7", "clip-3"], "test": ["sku-7"], "dev": ["clip-4"]}


def test_a_test_catalog_with_a_broken_line_has_no_train_split(tmp_path: Path) -> None:
    write_files(tmp_path, {"catalog.jsonl": '{"id": "a", "domain": "goods", "title": "x", "split": "test"}\n{"id": "b", "dom'})

    assert Catalog(tmp_path).splits() == ("test",)
    assert [reason[:16] for reason in reasons(tmp_path, "test")] == ["line 2: not JSON"]


def test_one_file_a_split_needs_no_split_field_and_refuses_one(tmp_path: Path) -> None:
    write_catalog(tmp_path, [KETTLE], name="train.jsonl")
    write_catalog(tmp_path, [KETTLE, {**CLIP, "split": "train"}], name="val.jsonl")

    assert open_source(tmp_path).splits() == ("train", "val")
    assert list(items(tmp_path, "val")) == ["sku-7"]
    (reason,) = reasons(tmp_path, "val")
    assert reason.startswith('line 2: field split is "train"; wanted a name or a list of names') and reason.endswith("in catalog.jsonl only")


def test_ground_truth_files_belong_to_the_split_they_name_or_to_test(tmp_path: Path) -> None:
    write_catalog(tmp_path, [KETTLE], name="val.jsonl")
    write_catalog(tmp_path, [KETTLE], name="test.jsonl")
    write_files(tmp_path, {"ground_truth_video2goods.tsv": "v1\tg1, g2\n\nv2\t\n", "ground_truth_video2goods.val.tsv": "v3\tg3\n"})
    source = Catalog(tmp_path)

    assert {task: list(lines) for task, lines in source.ground_truth("test").items()} == {"video2goods": [("v1", ["g1", "g2"]), ("v2", [])]}
    assert {task: list(lines) for task, lines in source.ground_truth("val").items()} == {"video2goods": [("v3", ["g3"])]}
    write_files(tmp_path, {"ground_truth_query2live.tsv": "blue kettle\ts1\n"})
    assert {task: list(lines) for task, lines in source.ground_truth("test").items() if task != "video2goods"} == {
        "query2live": [("blue kettle", ["s1"])]
    }
    assert source.derives_ground_truth("val") and not source.derives_ground_truth("train")


def test_a_ground_truth_line_of_three_columns_names_file_and_line(tmp_path: Path) -> None:
    write_catalog(tmp_path, [KETTLE], {"ground_truth_goods2video.tsv": "a\tb\nc\td\te\n"}, name="test.jsonl")

    with pytest.raises(ValueError, match=r"ground_truth_goods2video\.tsv: line 2 has 3 tab-separated columns, not 2"):
        list(Catalog(tmp_path).ground_truth("test")["goods2video"])


def test_a_line_changed_into_rubbish_since_it_was_listed_is_named(tmp_path: Path) -> None:
    write_catalog(tmp_path, [KETTLE])
    source = Catalog(tmp_path)
    (entry,) = source.entries("train")
    assert isinstance(entry, Entry)

    (tmp_path / "catalog.jsonl").write_text("rubbish\n")

    with pytest.raises(BadItem, match=r"catalog\.jsonl: line 1: not JSON"):
        source.read(entry)


def test_features_are_paths_until_they_are_packed(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros(3, np.float32))
    write_catalog(tmp_path, [{"id": "a", "domain": "video", "features": {"clip": "a.npy"}}])

    assert items(tmp_path)["a"].features == {"clip": tmp_path / "a.npy"}


def test_an_unknown_layout_lists_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"layout not recognised\. Looked for real20m: train_file/train\.txt .*; catalog: catalog\.jsonl, or"):
        open_source(tmp_path)


def test_a_corpus_of_two_layouts_asks_which(tmp_path: Path) -> None:
    write_files(tmp_path, real20m_files())
    write_catalog(tmp_path, [KETTLE])

    with pytest.raises(ValueError, match="looks like real20m and like catalog; say which with --source"):
        open_source(tmp_path)
    assert open_source(tmp_path, "catalog").name == "catalog"


def test_a_missing_folder_a_wrong_name_and_a_wrong_layout_are_told_apart(tmp_path: Path) -> None:
    write_catalog(tmp_path, [KETTLE])

    with pytest.raises(ValueError, match="nowhere: no such folder; --data names the root of a corpus"):
        open_source(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"catalog\.jsonl: not a folder"):
        open_source(tmp_path / "catalog.jsonl")
    with pytest.raises(ValueError, match="--source mqmc: no such source; choose one of real20m, catalog"):
        open_source(tmp_path, "mqmc")
    with pytest.raises(ValueError, match="not laid out as --source real20m, which looks for train_file/train"):
        open_source(tmp_path, "real20m")
