from __future__ import annotations

import json
import os

import h5py
import numpy as np
import pytest

from evaluate.dump import Dump
from evaluate.embeddings import finish_dump, is_complete, read_attributes, write_dump_shard
from evaluate.ids import decode_ids
from evaluate.labels import LabelValues
from tests.evaluate.dumps import attributes, write_dump

IDS = ["1000001", "Ä pfel/100% 🍏", "商品42", "'\"<b>"]


def test_a_shard_comes_back_as_it_was_written(tmp_path):
    rows = np.arange(16, dtype=np.float32).reshape(4, 4)

    write_dump_shard(tmp_path / "goods-000000.h5", rows, IDS, attributes())
    finish_dump(tmp_path, ["goods-000000"], "qcd:smoke")

    dump = Dump(tmp_path)
    [(first, block)] = dump.blocks()
    assert first == 0 and block.dtype == np.float32
    np.testing.assert_array_equal(block, rows)
    assert decode_ids(dump.ids()) == IDS
    assert (dump.rows, dump.dim, dump.domain, dump.checkpoint, dump.recipe) == (4, 4, "goods", "c0ffee", "qcd:smoke")
    assert read_attributes(tmp_path / "goods-000000.h5") == attributes()


def test_the_same_input_gives_the_same_bytes_in_one_piece_or_in_blocks(tmp_path):
    rows = np.random.default_rng(0).standard_normal((1000, 300), dtype=np.float32)
    ids = [f"é{row}" for row in range(1000)]
    half = attributes(dim=300, dtype="float16")

    write_dump_shard(tmp_path / "a.h5", rows, ids, half)
    write_dump_shard(tmp_path / "b.h5", (rows[first : first + 33] for first in range(0, 1000, 33)), ids, half)

    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_ids_labels_and_failed_items_may_be_filled_in_while_the_blocks_are_made(tmp_path):
    ids: list[str] = []
    failed: list[dict[str, str]] = []
    labels: list[dict[str, str]] = []

    def blocks():
        ids.extend(["a", "b"])
        yield np.zeros((2, 4))
        failed.append({"id": "broken", "reason": "cut file"})
        ids.append("c")
        labels.extend([{}, {"brand": "Nami"}, {}])
        yield np.zeros((1, 4))

    write_dump_shard(tmp_path / "video-000000.h5", blocks(), ids, attributes("video"), failed, labels)
    manifest = finish_dump(tmp_path, ["video-000000"])

    assert decode_ids(Dump(tmp_path).ids()) == ["a", "b", "c"]
    assert [codes.tolist() for codes in Dump(tmp_path).side().label_blocks("brand", LabelValues())] == [[-1, 0, -1]]
    assert manifest["failed"] == 1 == Dump(tmp_path).side().failed
    assert json.loads((tmp_path / "failed.jsonl").read_text()) == {"id": "broken", "shard": "video-000000", "reason": "cut file"}


def test_failed_items_of_all_shards_are_in_one_file_also_after_a_restart(tmp_path):
    for name, lost in (("goods-000000", ["x", "y"]), ("goods-000001", []), ("goods-000002", ["ž"])):
        write_dump_shard(tmp_path / f"{name}.h5", np.zeros((1, 4)), [name], attributes(), [{"id": item, "reason": "no frames"} for item in lost])

    finish_dump(tmp_path, [f"goods-{number:06d}" for number in range(3)])
    finish_dump(tmp_path, [f"goods-{number:06d}" for number in range(3)])

    lines = [json.loads(line) for line in (tmp_path / "failed.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(line["id"], line["shard"]) for line in lines] == [("x", "goods-000000"), ("y", "goods-000000"), ("ž", "goods-000002")]
    assert json.loads((tmp_path / "manifest.json").read_text())["failed"] == 3


def test_a_shard_of_no_rows_is_complete_and_read_as_nothing(tmp_path):
    lost = [{"id": "a", "reason": "no frames"}]
    write_dump_shard(tmp_path / "goods-000000.h5", [], [], attributes(), lost)
    write_dump_shard(tmp_path / "goods-000001.h5", np.ones((2, 4)), ["b", "c"], attributes())

    finish_dump(tmp_path, ["goods-000000", "goods-000001"])

    assert is_complete(tmp_path / "goods-000000.h5", attributes())
    assert decode_ids(Dump(tmp_path).ids()) == ["b", "c"]


def test_nothing_is_left_of_a_shard_whose_making_failed(tmp_path):
    def blocks():
        yield np.zeros((1, 4))
        raise RuntimeError("worker died")

    with pytest.raises(RuntimeError, match="worker died"):
        write_dump_shard(tmp_path / "goods-000000.h5", blocks(), ["a", "b"], attributes())

    assert os.listdir(tmp_path) == []


def test_a_shard_is_complete_only_with_the_same_checkpoint_and_input(tmp_path):
    path = tmp_path / "goods-000000.h5"
    assert not is_complete(path, attributes())

    write_dump_shard(path, np.zeros((1, 4)), ["a"], attributes())

    assert is_complete(path, attributes())
    for change in ({"checkpoint": "other"}, {"shard_checksum": "other"}, {"dtype": "float16"}, {"recipe": '{"frames": 5}'}, {"normalised": True}):
        assert not is_complete(path, attributes(**change)), change
    path.write_bytes(path.read_bytes()[:1000])
    assert not is_complete(path, attributes())


def test_writing_a_shard_makes_a_finished_dump_unfinished(tmp_path):
    write_dump(tmp_path, [("goods", np.zeros((2, 4)), ["a", "b"])])

    write_dump_shard(tmp_path / "goods-000000.h5", np.ones((1, 4)), ["a"], attributes())

    with pytest.raises(ValueError, match=r"no manifest.json; the dump is unfinished"):
        Dump(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"checkpoint": "decaf"}, "has checkpoint decaf, .*goods-000000.h5 has c0ffee"),
        ({"dim": 5}, "has dim 5, .*goods-000000.h5 has 4"),
        ({"recipe": '{"frames": 8}'}, "has recipe .*8.*, .*goods-000000.h5 has {}"),
        ({"dtype": "float16"}, "has dtype float16, .*goods-000000.h5 has float32"),
    ],
)
def test_shards_of_two_makings_are_not_mixed(tmp_path, change, said):
    write_dump_shard(tmp_path / "goods-000000.h5", np.zeros((1, 4)), ["a"], attributes())
    write_dump_shard(tmp_path / "goods-000001.h5", np.zeros((1, change.get("dim", 4))), ["b"], attributes(**change))

    with pytest.raises(ValueError, match=f"goods-000001.h5 {said}"):
        finish_dump(tmp_path, ["goods-000000", "goods-000001"])

    assert not (tmp_path / "manifest.json").exists()


def test_a_missing_shard_is_named(tmp_path):
    write_dump_shard(tmp_path / "goods-000000.h5", np.zeros((1, 4)), ["a"], attributes())

    with pytest.raises(ValueError, match=r"1 of 2 shards are missing, the first is goods-000001.h5; run embed again"):
        finish_dump(tmp_path, ["goods-000000", "goods-000001"])


def test_what_cannot_be_stored_is_refused_by_name(tmp_path):
    path = tmp_path / "goods-000000.h5"
    rows = np.ones((3, 4), np.float32)
    rows[1, 2] = np.nan
    with pytest.raises(ValueError, match=r"row 1 \('b'\) is not finite"):
        write_dump_shard(path, rows, ["a", "b", "c"], attributes())
    rows[1, 2] = 70000
    with pytest.raises(ValueError, match=r"row 1 \('b'\) is too large for float16; store float32"):
        write_dump_shard(path, rows, ["a", "b", "c"], attributes(dtype="float16"))
    with pytest.raises(ValueError, match="3 embeddings but labels for 1"):
        write_dump_shard(path, np.ones((3, 4)), ["a", "b", "c"], attributes(), labels=[{}])
    with pytest.raises(ValueError, match="3 embeddings but 2 ids"):
        write_dump_shard(path, np.ones((3, 4)), ["a", "b"], attributes())
    with pytest.raises(ValueError, match=r"shape \[3, 5\] from row 0 on, where rows have width 4"):
        write_dump_shard(path, np.ones((3, 5)), ["a", "b", "c"], attributes())
    with pytest.raises(ValueError, match="id 1 of 3 is ''"):
        write_dump_shard(path, np.ones((3, 4)), ["a", "", "c"], attributes())
    assert os.listdir(tmp_path) == []


def test_any_hdf5_reader_sees_one_array_and_its_ids(tmp_path, monkeypatch):
    rows = np.random.default_rng(0).standard_normal((20, 4)).astype(np.float32)
    ids = [f"{'long' * (row % 5)}é{row}" for row in range(20)]
    write_dump(tmp_path / "dump", [("goods", rows[:12], ids[:12]), ("video", rows[12:], ids[12:])], shard_rows=5)
    os.rename(tmp_path / "dump", tmp_path / "moved")

    for folder, name in ((tmp_path / "moved", "all.h5"), ("/", str(tmp_path / "moved" / "all.h5"))):
        monkeypatch.chdir(folder)
        with h5py.File(name, "r") as file:
            np.testing.assert_array_equal(file["embeddings"][:], rows)
            assert file["ids"].asstr()[:].tolist() == ids


def test_a_shard_that_has_gone_is_not_read_as_zeros(tmp_path):
    write_dump(tmp_path, [("goods", np.ones((4, 4), np.float32), list("abcd"))], shard_rows=2)
    (tmp_path / "goods-000001.h5").unlink()

    with h5py.File(tmp_path / "all.h5", "r") as file:
        assert np.isnan(file["embeddings"][2:]).all()
    with pytest.raises(ValueError, match=r"goods-000001.h5: not a whole shard"):
        list(Dump(tmp_path).blocks())
