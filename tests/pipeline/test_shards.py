"""The reader of a packed split."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from webdataset import WebDataset

from launch.files import read_json, write_json
from pipeline.item import Query
from pipeline.pack import pack
from pipeline.shards import Shard, ShardSet, is_shard_set, open_shards, splits_of
from tests.pipeline.corpora import picture, write_catalog

FRAMES = {"clips/0.jpg": picture((1, 0, 0)), "clips/1.dat": picture((2, 0, 0), form="PNG"), "clips/2.webp": picture((3, 0, 0), form="WEBP")}
FEATURE = np.arange(6, dtype=np.float32)
LONG_ID = "é" * 128


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SHARDS of a catalog with one good, four clips and two odd ids in test, in the order in which they are listed here."""
    root = tmp_path_factory.mktemp("corpus")
    np.save(root / "f.npy", FEATURE)
    records = [
        {"id": "g1", "domain": "goods", "images": ["good.jpg"], "title": "Kettle", "queries": ["kettle", {"words": "tea", "cluster": [4, 12]}]},
        {"id": "v1", "domain": "video", "images": sorted(FRAMES), "caption": "茶", "features": {"clip": "f.npy"}, "queries": ["tea"]},
        {"id": "v2", "domain": "video", "title": "words alone"},
        {"id": "v3.x/..", "domain": "video", "title": "a path"},
        {"id": LONG_ID, "domain": "video", "title": "long", "queries": ["long"]},
    ]
    write_catalog(root, records, {"good.jpg": picture(), **FRAMES}, name="test.jsonl")
    out = tmp_path_factory.mktemp("shards")
    pack(root, out, workers=1)
    return out


@pytest.fixture
def shards(packed: Path) -> ShardSet:
    return ShardSet(packed / "test")


@pytest.fixture
def own_copy(packed: Path, tmp_path: Path) -> Path:
    """A copy of the split that a test may damage."""
    return Path(shutil.copytree(packed / "test", tmp_path / "test"))


def clips(shards: ShardSet) -> Shard:
    return shards.shard(shards.of_domain("video")[0])


def test_the_manifest_tells_split_source_counts_and_shards(shards: ShardSet) -> None:
    assert (shards.split, shards.source, shards.counts, len(shards)) == ("test", "catalog", {"goods": 1, "query": 3, "video": 4}, 8)
    assert [(info.name, info.domain, info.role, info.samples, info.with_queries) for info in shards.shards] == [
        ("goods-000000", "goods", "both", 1, 1),
        ("query.query-000000", "query", "query", 3, 0),
        ("video-000000", "video", "both", 4, 2),
    ]
    assert shards.shards[0].bytes == (shards.folder / "goods-000000.tar").stat().st_size


def test_samples_are_reached_in_any_order_with_the_bytes_of_their_files(shards: ShardSet) -> None:
    shard = clips(shards)

    last, first = shard.sample(3), shard.sample(0)

    assert (last.id, last.domain, last.shard, last.row) == (LONG_ID, "video", "video-000000", 3)
    assert last.words() == {"title": "long"}
    assert first.members == ("json", "00.jpg", "01.png", "02.webp", "clip.npy")
    assert first.frames() == ["00.jpg", "01.png", "02.webp"] and first.video() is None
    assert [first.bytes(suffix) for suffix in first.frames()] == [FRAMES[name] for name in sorted(FRAMES)]
    assert first.words() == {"caption": "茶"} and first.record["labels"] == {}


def test_one_image_has_no_number(shards: ShardSet) -> None:
    sample = shards.shard(0).sample(0)

    assert sample.members == ("json", "jpg") and sample.frames() == ["jpg"] and sample.bytes("jpg") == picture()


def test_queries_of_a_sample_of_a_shard_and_of_the_set_agree(shards: ShardSet) -> None:
    assert shards.queries() == [Query(0, "kettle"), Query(1, "tea", (4, 12)), Query(2, "long")]
    assert shards.shard(0).sample(0).queries() == [Query(0, "kettle"), Query(1, "tea", (4, 12))]
    shard = clips(shards)
    assert shard.query_offsets.tolist() == [0, 1, 1, 1, 2] and shard.query_ids_flat.tolist() == [1, 2]
    assert shard.query_ids(0).tolist() == [1] and shard.query_ids(0).dtype == np.int32 and shard.query_ids(1).tolist() == []


def test_a_span_is_where_a_decoder_finds_the_member_by_itself(shards: ShardSet) -> None:
    path, offset, size = clips(shards).sample(0).span("02.webp")

    with open(path, "rb") as file:
        file.seek(offset)
        assert file.read(size) == FRAMES["clips/2.webp"]


def test_ids_that_are_unsafe_as_file_names_get_a_key_that_no_id_can_have(shards: ShardSet) -> None:
    shard = clips(shards)

    assert shard.keys[:2] == ["v1", "v2"]
    assert shard.keys[2] != shard.keys[3] and all(key.startswith("~") and len(key) == 33 for key in shard.keys[2:])
    assert shard.ids == ["v1", "v2", "v3.x/..", LONG_ID]
    assert [shard.sample(row).record["id"] for row in range(4)] == shard.ids


def test_plain_webdataset_reads_the_shards(shards: ShardSet) -> None:
    samples = list(WebDataset(str(shards.folder / "video-000000.tar"), shardshuffle=False, empty_check=False))

    assert [json.loads(sample["json"])["id"] for sample in samples] == ["v1", "v2", "v3.x/..", LONG_ID]
    assert samples[0]["01.png"] == FRAMES["clips/1.dat"]
    np.testing.assert_array_equal(np.load(io.BytesIO(samples[0]["clip.npy"])), FEATURE)


def test_a_missing_member_names_sample_and_members(shards: ShardSet) -> None:
    with pytest.raises(ValueError) as caught:
        clips(shards).sample(0).bytes("goods.npy")

    assert str(caught.value) == "test/video-000000.tar: sample 0 ('v1') lacks goods.npy; it has json, 00.jpg, 01.png, 02.webp, clip.npy"


def test_a_row_outside_the_shard_is_refused(shards: ShardSet) -> None:
    with pytest.raises(ValueError, match=r"video-000000\.tar: no sample 4; the shard has 4"):
        clips(shards).sample(4)


def test_an_open_set_can_be_pickled_and_read_on(shards: ShardSet) -> None:
    sample = clips(shards).sample(0)
    sample.bytes("json")

    again, sample_again = pickle.loads(pickle.dumps((shards, sample)))

    assert clips(again).sample(0).bytes("00.jpg") == sample_again.bytes("00.jpg") == FRAMES["clips/0.jpg"]


def test_forked_readers_do_not_disturb_each_other(shards: ShardSet) -> None:
    shard = clips(shards)
    wanted = [shard.sample(row).bytes("json") for row in range(4)]

    children = []
    for _ in range(3):
        child = os.fork()
        if child == 0:
            alike = all(shard.sample(row % 4).bytes("json") == wanted[row % 4] for row in range(2000))
            os._exit(0 if alike else 1)
        children.append(child)

    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]


def test_only_so_many_shards_stay_open(packed: Path) -> None:
    shards = ShardSet(packed / "test", open_shards=1)

    first = shards.shard(0)
    same = shards.shard(0)
    shards.shard(1)
    opened_again = shards.shard(0)

    assert first is same and opened_again is not first
    assert first.sample(0).bytes("jpg") == opened_again.sample(0).bytes("jpg")


def test_shards_are_found_by_domain_and_role(shards: ShardSet) -> None:
    assert shards.of_domain("video") == [2] and shards.of_domain("video", roles=("query",)) == [] and shards.of_domain("live") == []


def test_a_domain_that_is_not_there_is_named_with_what_there_is(shards: ShardSet) -> None:
    shards.require_domains("goods", "video")

    held = r"test: no items of domain image \(it holds 1 goods, 3 query, 4 video\); use a corpus that has goods and image"
    with pytest.raises(ValueError, match=held):
        shards.require_domains("goods", "image")


def test_a_folder_without_a_manifest_is_unfinished(own_copy: Path) -> None:
    (own_copy / "manifest.json").unlink()

    with pytest.raises(ValueError, match=r"no manifest\.json; the folder is unfinished, run the command that wrote it again"):
        ShardSet(own_copy)


def test_a_tar_of_another_size_is_refused_at_every_read(own_copy: Path) -> None:
    os.truncate(own_copy / "video-000000.tar", 2048)
    damaged = clips(ShardSet(own_copy))

    for row in (3, 0):
        with pytest.raises(ValueError, match=r"video-000000\.tar: 2048 bytes, the manifest says [0-9]+; the file is damaged, pack it again"):
            damaged.sample(row).words()


def test_a_missing_tar_and_a_missing_index_are_named(own_copy: Path) -> None:
    (own_copy / "video-000000.tar").unlink()
    (own_copy / "goods-000000.index.npz").unlink()
    shards = ShardSet(own_copy)

    with pytest.raises(ValueError, match=r"video-000000\.tar: missing, though the manifest lists it"):
        clips(shards).sample(0).words()
    with pytest.raises(ValueError, match=r"goods-000000\.index\.npz: missing, though the manifest lists goods-000000"):
        shards.shard(0)


def test_an_index_of_another_pack_run_is_refused(own_copy: Path) -> None:
    shutil.copy(own_copy / "goods-000000.index.npz", own_copy / "video-000000.index.npz")

    with pytest.raises(ValueError, match=r"1 samples, the manifest says 4; the folder mixes two pack runs"):
        clips(ShardSet(own_copy))


def test_another_format_version_is_refused_with_both_numbers(own_copy: Path) -> None:
    write_json(own_copy / "manifest.json", {**read_json(own_copy / "manifest.json"), "format_version": 7})

    with pytest.raises(ValueError, match="format version 7, this program reads 1; pack the corpus again"):
        ShardSet(own_copy)


def test_a_manifest_of_something_else_is_no_shard_set(tmp_path: Path) -> None:
    write_json(tmp_path / "manifest.json", {"format_version": 1, "dim": 512})

    assert not is_shard_set(tmp_path)
    with pytest.raises(ValueError, match="not the manifest of a packed split"):
        ShardSet(tmp_path)


def test_a_shard_set_is_recognised_by_its_splits_or_as_one_of_them(packed: Path, tmp_path: Path) -> None:
    assert is_shard_set(packed) and is_shard_set(packed / "test")
    assert splits_of(packed) == splits_of(packed / "test") == {"test": packed / "test"}
    assert open_shards(packed, "test").counts == open_shards(packed / "test", "test").counts == {"goods": 1, "query": 3, "video": 4}
    assert not is_shard_set(tmp_path) and not is_shard_set(tmp_path / "nowhere") and not is_shard_set(packed / "test" / "manifest.json")
    with pytest.raises(ValueError, match="no split train; it has test"):
        open_shards(packed, "train")
    with pytest.raises(ValueError, match=r"not a packed shard set .* pack a corpus with python -m pipeline\.pack"):
        splits_of(tmp_path)


def test_an_unfinished_split_is_recognised_and_said_to_be_unfinished(tmp_path: Path) -> None:
    (tmp_path / "train" / ".pack").mkdir(parents=True)

    assert is_shard_set(tmp_path)
    with pytest.raises(ValueError, match=r"train: no manifest\.json; the folder is unfinished, run the command that wrote it again"):
        open_shards(tmp_path, "train")


def test_ground_truth_and_tokenizer_are_none_where_there_are_none(shards: ShardSet) -> None:
    truth = shards.ground_truth("video2goods")

    assert truth is not None and truth.read_text() == "v1\tg1\n"
    assert shards.ground_truth("goods2goods") is None and shards.tokenizer() is None
