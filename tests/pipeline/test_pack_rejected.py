"""What cannot be packed is listed with file and reason, and the rest is packed without it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.pack import pack
from pipeline.shards import ShardSet
from tests.pipeline.corpora import clip, real20m_files, write_catalog, write_files
from tests.pipeline.packed import ids, rejected


def test_what_cannot_be_packed_is_listed_with_file_and_reason(tmp_path: Path) -> None:
    files = real20m_files()
    whole = files["video/images/9/a_0.jpg"]
    files |= {
        "train_file/train.txt": "coat\t101,50102,103,x4\t100203,50204,205,206,207\n",
        "goods/images/101/101.jpg": whole[: len(whole) // 2],  # type: ignore[dict-item]
        "goods/text/102/50102.txt": "one\ntwo\n",
        "goods/text/103/103.txt": "103\nnull\nnull\nnull\nnull\nnull\n",
        "video/images/9/a_0.jpg": b"<html>not found</html>",
        "video/frameid/206/206.txt": "../../../../etc/passwd\n",
        "video/text/206/206.txt": "a\nb\nc\n",
        "video/frameid/207/207.txt": "9/cut.mp4\n",
        "video/text/207/207.txt": "a\nb\nc\n",
        "video/images/9/cut.mp4": clip()[:-200],
    }
    corpus = write_files(tmp_path / "corpus", files)

    pack(corpus, tmp_path / "out", workers=1, splits=["train"], vocab_size=0)

    train = ShardSet(tmp_path / "out" / "train")
    assert train.counts == {"video": 2} and train.manifest["rejected"] == 7
    listed = {id: (file, reason) for id, file, reason in rejected(train.folder)}
    assert listed["x4"] == ("train_file/train.txt", "line 1: id 'x4' is not a number")
    assert listed["101"][0] == "goods/images/101/101.jpg" and "truncated" in listed["101"][1] and "goods/images" not in listed["101"][1]
    assert listed["50102"] == ("goods/text/102/50102.txt", "has 2 lines, not 6 (id, category, brand, entity, title, description)")
    assert listed["103"] == ("goods/images/103/103.jpg", "missing file")
    assert listed["100203"][0] == "video/images/9/a_0.jpg" and "<html>no" in listed["100203"][1]
    assert listed["206"][0] == "video/frameid/206/206.txt" and "'../../../../etc/passwd'" in listed["206"][1]
    assert listed["207"][0] == "video/images/9/cut.mp4"
    assert sorted(ids(train, "video")) == ["205", "50204"]


def test_the_first_bad_item_stops_packing_where_that_is_asked_for(tmp_path: Path) -> None:
    unread = write_catalog(tmp_path / "a", [{"id": "g1", "domain": "goods", "images": ["gone.jpg"]}])
    unlisted = write_catalog(tmp_path / "b", [{"id": "g1", "domain": "goods", "images": "gone.jpg"}])

    with pytest.raises(ValueError, match=r"a/gone\.jpg: missing file \(item 'g1'; --on_bad_item skip goes on without it\)"):
        pack(unread, tmp_path / "out", workers=1, on_bad_item="stop")
    with pytest.raises(ValueError, match=r'b/catalog\.jsonl: line 1: field images is "gone\.jpg"; wanted a list of paths \(--on_bad_item skip'):
        pack(unlisted, tmp_path / "out-b", workers=1, on_bad_item="stop")


def test_a_split_of_bad_items_alone_is_an_error_that_shows_the_first(tmp_path: Path) -> None:
    corpus = write_catalog(tmp_path / "corpus", [{"id": f"g{n}", "domain": "goods", "images": ["gone.jpg"]} for n in range(3)])

    with pytest.raises(ValueError, match=r"nothing to pack, 3 of 3 items were rejected .* the first: goods 'g[012]', gone\.jpg: missing file"):
        pack(corpus, tmp_path / "out", workers=1)

    assert len(rejected(tmp_path / "out" / "train")) == 3 and not (tmp_path / "out" / "train" / "manifest.json").exists()


def test_the_second_line_of_an_id_is_rejected_naming_both_lines(tmp_path: Path) -> None:
    records = [{"id": "a", "domain": "goods", "title": title} for title in ("first", "second")] + [{"id": "a", "domain": "video", "title": "third"}]

    pack(write_catalog(tmp_path / "corpus", records), tmp_path / "out", workers=1, vocab_size=0)

    train = ShardSet(tmp_path / "out" / "train")
    assert rejected(train.folder) == [("a", "catalog.jsonl", "line 2: id 'a' of domain goods is on line 1 of catalog.jsonl already")]
    assert [train.shard(n).sample(0).words()["title"] for n in range(2)] == ["first", "third"]


def test_a_query_of_two_clusters_is_rejected_naming_both(tmp_path: Path) -> None:
    queries = [{"words": "tea"}, {"words": "tea", "cluster": [1, 2]}, {"words": "tea", "cluster": [1, 3]}]
    records = [{"id": f"g{n}", "domain": "goods", "title": "x", "queries": [query]} for n, query in enumerate(queries)]

    pack(write_catalog(tmp_path / "corpus", records), tmp_path / "out", workers=1, vocab_size=0)

    train = ShardSet(tmp_path / "out" / "train")
    assert [reason for _, _, reason in rejected(train.folder)] == ["line 3: query 'tea' has cluster [1, 3] here and [1, 2] before"]
    assert [query.cluster for query in train.queries()] == [(1, 2)]


def test_an_id_listed_with_other_files_for_the_same_purpose_is_rejected(tmp_path: Path) -> None:
    line = "101\tgoods\tCoat\t101/101.jpg\t101/101.txt\n"
    files = {**real20m_files(), "test_file/all_goods.txt": line + line + line.replace("101/101.jpg", "102/50102.jpg")}

    pack(write_files(tmp_path / "corpus", files), tmp_path / "out", workers=1, splits=["test"])

    ((id, file, reason),) = rejected(tmp_path / "out" / "test")
    assert (id, file) == ("101", "test_file/all_goods.txt")
    assert reason == "line 3: id '101' of domain goods is on line 1 of test_file/all_goods.txt already, with other files"


def test_a_feature_that_is_no_array_is_rejected(tmp_path: Path) -> None:
    records = [{"id": "a", "domain": "video", "features": {"clip": "bad.npy"}}, {"id": "b", "domain": "video", "title": "fine"}]
    corpus = write_catalog(tmp_path / "corpus", records, {"bad.npy": b"rubbish"}, name="test.jsonl")

    pack(corpus, tmp_path / "out", workers=1)

    ((id, file, reason),) = rejected(tmp_path / "out" / "test")
    assert (id, file) == ("a", "bad.npy") and reason.startswith("not a .npy array")
