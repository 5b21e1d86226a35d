from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from evaluate.dump import Dump
from evaluate.dumps import convert as module
from evaluate.dumps.command import main
from evaluate.dumps.convert import convert
from evaluate.dumps.given_labels import read_labels
from evaluate.dumps.opening import open_source
from evaluate.dumps.text import parse
from evaluate.embeddings import read_attributes
from evaluate.ids import decode_ids
from evaluate.labels import LabelValues
from tests.evaluate.dumps import write_dump

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


def test_shards_past_the_end_of_a_source_that_is_shorter_now_are_removed(tmp_path):
    convert(write_text(tmp_path / "video.txt"), tmp_path / "dump", "video", quiet=True)

    convert(write_text(tmp_path / "video.txt", ROWS[:12], IDS[:12]), tmp_path / "dump", "video", quiet=True)

    assert Dump(tmp_path / "dump").rows == 12
    assert sorted(path.name for path in (tmp_path / "dump").glob("*-*.h5")) == ["video-000000.h5", "video-000001.h5"]


def a_dump_of_a_checkpoint(out: Path) -> None:
    write_dump(out, [("video", ROWS, IDS)], shard_rows=10, labels={IDS[1]: {"brand": "Nami"}}, checkpoint="c1")


def an_unfinished_dump(out: Path) -> None:
    a_dump_of_a_checkpoint(out)
    (out / "manifest.json").unlink()


def a_conversion_of_another_file(out: Path) -> None:
    convert(write_text(out.with_name("other.txt")), out, "video", quiet=True)


def a_conversion_of_this_file_and_a_note(out: Path) -> None:
    convert(write_text(out.with_name("video.txt"), ROWS[:3], IDS[:3]), out, "video", quiet=True)
    (out / "note.md").write_text("keep")


def a_manifest(out: Path) -> None:
    out.mkdir()
    (out / "manifest.json").write_text('{"format_version": 1, "split": "test", "shards": []}')


@pytest.mark.parametrize(
    ("make", "held"),
    [
        (a_dump_of_a_checkpoint, "all.h5"),
        (an_unfinished_dump, "all.h5"),
        (a_conversion_of_another_file, "all.h5"),
        (a_conversion_of_this_file_and_a_note, "note.md"),
        (a_manifest, "manifest.json"),
    ],
)
def test_a_folder_with_anything_else_in_it_is_refused_and_left_as_it_is(tmp_path, make, held):
    make(tmp_path / "dump")
    before = contents(tmp_path / "dump")
    text = write_text(tmp_path / "video.txt")

    with pytest.raises(ValueError, match=rf"dump: holds {held}, which is not from converting video.txt; give another folder, or remove this one"):
        convert(text, tmp_path / "dump", "video", quiet=True)

    assert contents(tmp_path / "dump") == before


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    text = write_text(tmp_path / "video.txt")

    with pytest.raises(ValueError, match=r"video.txt: a file; name a folder"):
        convert(text, text, "video", quiet=True)


def test_a_folder_holds_what_its_file_was_converted_to_last(tmp_path):
    text = write_text(tmp_path / "video.txt")

    for domain in ("video", "goods", "video"):
        convert(text, tmp_path / "dump", domain, quiet=True)

        assert Dump(tmp_path / "dump").domain == domain


@pytest.mark.parametrize("domain", ["../x", "a/b", "", ".x", "-x", "two words", "a\\b"])
def test_a_domain_that_would_lead_out_of_the_folder_is_refused(tmp_path, domain):
    with pytest.raises(ValueError, match="is no plain name"):
        convert(write_text(tmp_path / "video.txt"), tmp_path / "out/dump", domain, quiet=True)

    assert os.listdir(tmp_path) == ["video.txt"]


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
    left = tmp_path / "dump/.video-000002.h5.77.tmp"  # by a kill that leaves no time to clean up
    left.touch()
    parsed = []
    monkeypatch.setattr(module, "write_dump_shard", original)
    monkeypatch.setattr(module, "parse", lambda path, lines, dim: parsed.append(lines[0][0]) or parse(path, lines, dim))
    convert(text, tmp_path / "dump", "video", quiet=True)

    left.unlink()
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


@pytest.mark.parametrize("array", [True, False])
def test_how_many_ids_have_labels_is_said_and_labels_of_none_are_refused(tmp_path, capsys, array):
    if array:
        np.save(tmp_path / "video.npy", ROWS)
        (tmp_path / "ids.txt").write_text("".join(f"{item}\n" for item in IDS))
    source = tmp_path / "video.npy" if array else write_text(tmp_path / "video.txt")
    lines = [{"id": IDS[3], "labels": {"brand": "Nami"}}, {"id": IDS[24], "labels": {"category": ["Tea"]}}, {"id": IDS[5], "labels": {}}]
    (tmp_path / "some.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8-sig")
    (tmp_path / "none.jsonl").write_text('{"id": "x", "labels": {"brand": "Nami"}}\n')
    (tmp_path / "goods.jsonl").write_text(json.dumps({"id": IDS[3], "domain": "goods", "labels": {"brand": "Nami"}}))
    command = ["convert", str(source), "--domain", "video", "--out", str(tmp_path / "dump"), "--labels"]

    for name, said in (("none", r"it has labels of 1 others, such as 'x'"), ("goods", "no line for their domain has any")):
        with pytest.raises(ValueError, match=rf"{name}.jsonl: no labels for any id of {source}, such as '视频 0'; {said}; give the labels"):
            main([*command, str(tmp_path / f"{name}.jsonl")])
    assert not (tmp_path / "dump").exists()
    main([*command, str(tmp_path / "some.jsonl")])

    assert f"{tmp_path / 'some.jsonl'}: 2 of 25 ids have labels" in capsys.readouterr().out


def test_a_mark_of_the_encoding_is_no_part_of_the_first_id(tmp_path):
    text = write_text(tmp_path / "video.txt")
    text.write_bytes(b"\xef\xbb\xbf" + text.read_bytes())

    assert decode_ids(Dump(convert(text, tmp_path / "dump", "video", quiet=True)).ids()) == IDS


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
