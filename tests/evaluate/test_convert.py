from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from evaluate.dump import Dump
from evaluate.dumps import convert as module
from evaluate.dumps.convert import convert, read_labels
from evaluate.dumps.opening import open_source
from evaluate.dumps.text import parse
from evaluate.embeddings import read_attributes
from evaluate.ids import decode_ids
from evaluate.labels import LabelValues

ROWS = np.random.default_rng(0).standard_normal((25, 6)).astype(np.float32)
IDS = [f"3{row:06d}_0" if row % 5 else f"视频 {row}" for row in range(25)]


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    """Shards of ten rows."""
    monkeypatch.setattr(module, "SHARD_ROWS", 10)


def write_text(path: Path, rows: np.ndarray = ROWS, ids: list[str] = IDS) -> Path:
    """Released text features: `id TAB comma-separated floats`."""
    path.write_text("".join(f"{item}\t{','.join(repr(float(value)) for value in row)}\n" for item, row in zip(ids, rows)), encoding="utf-8")
    return path


def contents(folder: Path) -> dict[str, bytes]:
    """All files but all.h5: HDF5 leaves what it finds in memory between the parts of a virtual array."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "all.h5"}


def test_text_features_become_a_dump_with_the_same_numbers(tmp_path):
    out = convert(write_text(tmp_path / "video.txt"), tmp_path / "dump", "video", quiet=True)

    dump = Dump(out)
    assert (dump.rows, dump.dim, dump.dtype, dump.domain, dump.checkpoint) == (25, 6, "float32", "video", "unknown")
    assert len(dump.shards) == 3 and dump.recipe == "converted from video.txt"
    np.testing.assert_array_equal(np.concatenate([block for _, block in dump.blocks()]), ROWS)
    assert decode_ids(dump.ids()) == IDS


def test_an_array_becomes_a_dump_with_labels_from_a_catalogue(tmp_path):
    np.save(tmp_path / "goods.npy", ROWS.astype(np.float16))
    (tmp_path / "goods.txt").write_text("".join(f"g{row}\n" for row in range(25)))
    lines = [{"id": f"g{row}", "domain": "goods", "title": "x", "labels": {"category": ["Food"]}} for row in range(0, 25, 2)]
    lines += [{"id": "g3", "domain": "video", "labels": {"category": ["Never"]}}, {"id": "g5"}]
    (tmp_path / "catalog.jsonl").write_text("\n\n".join(map(json.dumps, lines)))

    dump = Dump(
        convert(tmp_path / "goods.npy", tmp_path / "dump", "goods", labels=tmp_path / "catalog.jsonl", dtype="float16", checkpoint="old", quiet=True)
    )

    assert (dump.dtype, dump.checkpoint) == ("float16", "old")
    np.testing.assert_array_equal(np.concatenate([block for _, block in dump.blocks()]), ROWS.astype(np.float16))
    codes = np.concatenate(list(dump.side().label_blocks("category", LabelValues())))
    assert codes.tolist() == [0 if row % 2 == 0 else -1 for row in range(25)]


def test_converting_again_does_nothing_unless_the_file_has_changed(tmp_path, monkeypatch):
    text = write_text(tmp_path / "video.txt")
    convert(text, tmp_path / "dump", "video", quiet=True)
    before = contents(tmp_path / "dump")
    written = []
    monkeypatch.setattr(module, "write_dump_shard", lambda path, *rest, **named: written.append(path.name) or original(path, *rest, **named))

    convert(text, tmp_path / "dump", "video", quiet=True)
    assert written == [] and contents(tmp_path / "dump") == before

    write_text(text, ROWS[:22], IDS[:22])
    convert(text, tmp_path / "dump", "video", quiet=True)
    assert len(written) == 3 and Dump(tmp_path / "dump").rows == 22


original = module.write_dump_shard


def test_a_conversion_that_was_killed_goes_on_and_ends_the_same(tmp_path, monkeypatch):
    text = write_text(tmp_path / "video.txt")
    convert(text, tmp_path / "whole", "video", quiet=True)

    def dies(path, *rest, **named):
        if path.stem.endswith("2"):
            raise KeyboardInterrupt
        original(path, *rest, **named)

    monkeypatch.setattr(module, "write_dump_shard", dies)
    with pytest.raises(KeyboardInterrupt):
        convert(text, tmp_path / "dump", "video", quiet=True)
    with pytest.raises(ValueError, match="unfinished"):
        Dump(tmp_path / "dump")
    parsed = []
    monkeypatch.setattr(module, "write_dump_shard", original)
    monkeypatch.setattr(module, "parse", lambda path, lines, dim: parsed.append(lines[0][0]) or parse(path, lines, dim))
    convert(text, tmp_path / "dump", "video", quiet=True)

    assert parsed == [21], "the first two shards were complete"
    assert contents(tmp_path / "dump") == contents(tmp_path / "whole")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("no tab 1,2,3,4,5,6", r"video.txt: line 3 is not `id TAB comma-separated floats`: b'no tab 1"),
        ("x\t1,2,three,4,5,6", "line 3 is not `id TAB"),
        ("x\t1,2,3,4,5,6 and more", "line 3 is not `id TAB"),
        ("\t1,2,3,4,5,6", "line 3 is not `id TAB"),
        ("x\t1,2,3,4,5", r"line 3 \('x'\) has 5 numbers, the first line 6"),
        ("x\t", r"line 3 \('x'\) has 0 numbers, the first line 6"),
        ("x\t1,2,nan,4,5,6", r"line 3 \('x'\) has a number that is not finite"),
        ("x\t1,2,3,4,5,1e39", r"line 3 \('x'\) has a number that is not finite in float32"),
    ],
)
def test_a_broken_line_is_named_and_leaves_no_finished_dump(tmp_path, line, said):
    text = write_text(tmp_path / "video.txt")
    lines = text.read_text().splitlines()
    text.write_text("\n".join([*lines[:2], line, *lines[3:]]))

    with pytest.raises(ValueError, match=said):
        convert(text, tmp_path / "dump", "video", quiet=True)

    assert not (tmp_path / "dump" / "manifest.json").exists()


def test_blank_lines_are_passed_over_and_an_empty_file_is_an_error(tmp_path):
    (tmp_path / "a.txt").write_text("\na\t1,2\n\n  \nb\t3,4\n")
    (tmp_path / "empty.txt").write_text("\n")

    assert decode_ids(Dump(convert(tmp_path / "a.txt", tmp_path / "a", "goods", quiet=True)).ids()) == ["a", "b"]
    with pytest.raises(ValueError, match=r"empty.txt: no line in it"):
        convert(tmp_path / "empty.txt", tmp_path / "b", "goods", quiet=True)
    with pytest.raises(ValueError, match=r"nowhere.txt: no such file; give a dump's folder, a .npy, or a text file"):
        open_source(tmp_path / "nowhere.txt", "goods")


@pytest.mark.parametrize(
    ("line", "said"), [("{", "line 2 is not JSON"), ("[]", "line 2 is not"), ('{"labels": {}}', "line 2"), ('{"id": 1, "labels": 3}', "line 2")]
)
def test_a_broken_line_of_labels_is_named(tmp_path, line, said):
    (tmp_path / "labels.jsonl").write_text(f'{{"id": "a", "labels": {{}}}}\n{line}\n')

    with pytest.raises(ValueError, match=f"labels.jsonl: {said}"):
        read_labels(tmp_path / "labels.jsonl", "goods")


def test_a_source_is_a_dump_an_array_or_text_that_is_converted_beside_itself_or_elsewhere(tmp_path, capsys):
    text = write_text(tmp_path / "video.txt")
    np.save(tmp_path / "a.npy", ROWS)
    (tmp_path / "other.txt").write_text("".join(f"g{row}\n" for row in range(25)))

    beside, elsewhere = open_source(text, "video"), open_source(text, "video", converted=tmp_path / "out")
    array = open_source(tmp_path / "a.npy", "goods", tmp_path / "other.txt")

    assert [len(beside), len(elsewhere), len(array)] == [25, 25, 25]
    assert sorted(name for name in os.listdir(tmp_path) if name.endswith(".dump")) == ["video.txt.dump"]
    assert os.listdir(tmp_path / "out") == ["video.txt.dump"]
    assert read_attributes(tmp_path / "out/video.txt.dump/video-000000.h5").domain == "video"
    assert isinstance(open_source(tmp_path / "video.txt.dump", "goods"), Dump)
    with pytest.raises(ValueError, match=r"other.txt: a list of ids goes with a .npy"):
        open_source(text, "video", tmp_path / "other.txt")
