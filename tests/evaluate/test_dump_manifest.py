"""What stands in a dump's folder, or instead of one."""

from __future__ import annotations

import json

import numpy as np
import pytest

from evaluate.build_index import main as build_index
from evaluate.dump import Dump
from evaluate.dumps.info import info
from evaluate.dumps.verify import verify
from evaluate.ids import decode_ids
from launch.files import read_json, write_json
from tests.evaluate.dumps import write_dump


def test_a_folder_that_is_no_dump_is_named(tmp_path):
    with pytest.raises(ValueError, match="no such folder"):
        Dump(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"no manifest.json; the dump is unfinished, run embed again"):
        Dump(tmp_path)
    (tmp_path / "manifest.json").write_text('{"format_version": 7}')
    with pytest.raises(ValueError, match="format version 7, this program reads 1"):
        Dump(tmp_path)


def test_a_file_in_place_of_a_folder_is_said_to_be_one(tmp_path):
    (tmp_path / "goods.txt").write_text("a\t1,0\n")
    said = r"goods.txt: a file, wanted the folder of a dump; give one that pipeline.embed wrote, or make one of the file: .*evaluate.dump convert"

    for read in (info, verify, lambda path: build_index(["--docs", str(path), "--out", str(tmp_path / "index")])):
        with pytest.raises(ValueError, match=said):
            read(tmp_path / "goods.txt")


def test_a_folder_of_dumps_is_no_dump_and_names_them(tmp_path):
    for name in ("video", "goods"):
        write_dump(tmp_path / "out/dumps" / name, [(name, np.zeros((1, 4)), ["a"])])
    (tmp_path / "out/shards").mkdir()
    (tmp_path / "out/shards/manifest.json").write_text('{"format_version": 1, "split": "test", "shards": []}')
    (tmp_path / "out/ranked.h5").write_bytes(b"of something else")
    held = ", ".join(str(tmp_path / "out/dumps" / name) for name in ("goods", "video"))

    for folder in (tmp_path / "out", tmp_path / "out/dumps"):
        with pytest.raises(ValueError) as raised:
            Dump(folder)
        assert str(raised.value) == f"{folder}: not a dump itself; there are dumps in it, give one of them: {held}"


def test_of_many_dumps_in_a_folder_six_are_named(tmp_path):
    for number in range(8):
        write_dump(tmp_path / str(number), [("goods", np.zeros((1, 4)), ["a"])])

    with pytest.raises(ValueError, match=r"/0, .*/5 and 2 more$"):
        Dump(tmp_path)


def test_a_folder_without_any_dump_is_not_called_unfinished(tmp_path):
    (tmp_path / "log.txt").write_text("x")

    with pytest.raises(ValueError, match=r"not a dump, it holds neither manifest.json nor shards; give a folder that pipeline.embed wrote"):
        Dump(tmp_path)


def test_shards_without_a_manifest_are_an_unfinished_dump(tmp_path):
    write_dump(tmp_path, [("goods", np.zeros((1, 4)), ["a"])])
    (tmp_path / "manifest.json").unlink()

    with pytest.raises(ValueError, match=r"no manifest.json; the dump is unfinished, run embed again"):
        Dump(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"shards": "none"}, "damaged, shards is 'none', wanted list"),
        ({"dim": "16"}, "damaged, dim is '16', wanted int"),
        ({"dtype": "float64"}, "damaged, dtype is 'float64', wanted float16 or float32"),
        ({"domains": None}, "damaged, domains is None, wanted list"),
        ({"shards": ["goods"]}, "damaged, shard 0 is 'goods', wanted dict"),
        ({"shards": [{"name": "x"}]}, r"not that of a dump \(shard 0: it lacks 'domain'\)"),
        ({"rows of its shard": 1.5}, "damaged, shard 0: rows is 1.5, wanted int"),
        ({"labels of its shard": 3}, "damaged, shard 0: labels is 3, wanted list"),
        ({"name of its shard": "../goods-000000"}, "damaged, shard 0: name is '../goods-000000', wanted that of a file in this folder"),
    ],
)
def test_a_damaged_manifest_is_named_with_what_is_wrong(tmp_path, change, said):
    write_dump(tmp_path, [("goods", np.zeros((2, 4)), ["a", "b"])])
    manifest = read_json(tmp_path / "manifest.json")
    for key, value in change.items():
        of_shard = key.endswith(" of its shard")
        (manifest["shards"][0] if of_shard else manifest)[key.removesuffix(" of its shard")] = value
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))

    for read in (Dump, info, verify):
        with pytest.raises(ValueError, match=rf"manifest.json: {said}"):
            read(tmp_path)


def test_the_manifest_of_packed_shards_is_told_from_that_of_a_dump(tmp_path):
    (tmp_path / "manifest.json").write_text('{"format_version": 1, "split": "test", "shards": []}')

    with pytest.raises(ValueError, match=r"not that of a dump \(it lacks 'dim'\); give a folder that pipeline.embed wrote, not packed shards"):
        Dump(tmp_path)


def test_a_dump_of_a_program_without_labels_and_checksums_is_read(tmp_path):
    write_dump(tmp_path, [("goods", np.ones((2, 4)), ["a", "b"])])
    manifest = read_json(tmp_path / "manifest.json")
    for shard in manifest["shards"]:
        del shard["labels"], shard["checksum"]
    write_json(tmp_path / "manifest.json", manifest)

    dump = Dump(tmp_path)

    assert dump.side().label_keys() == [] and dump.shards[0].checksum == "" and decode_ids(dump.ids()) == ["a", "b"]
