"""`python -m evaluate.dump`: info, verify, export."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from evaluate.dump import Dump
from evaluate.dumps import export as exporting
from evaluate.dumps.array import ArrayVectors
from evaluate.dumps.command import main
from evaluate.dumps.export import export
from evaluate.dumps.info import info
from evaluate.dumps.verify import verify
from evaluate.embeddings import finish_dump, write_dump_shard
from evaluate.ids import decode_ids
from tests.evaluate.dumps import attributes, write_dump

DRAW = np.random.default_rng(0)
ROWS = DRAW.standard_normal((20, 4))
ROWS = (ROWS / np.linalg.norm(ROWS, axis=1, keepdims=True)).astype(np.float32)
IDS = [f"g{row}" for row in range(14)] + [f"视频{row}" for row in range(6)]
LABELS = {"g0": {"brand": "Nami", "category": ["Food", "Fruit"]}, "g13": {"category": ["Tea"]}}


def little(folder: Path, rows: np.ndarray = ROWS, ids: list[str] = IDS, **changes: object) -> Path:
    """Fourteen goods in two shards and six videos in one, rows of length 1."""
    return write_dump(folder, [("goods", rows[:14], ids[:14]), ("video.query", rows[14:], ids[14:])], labels=LABELS, normalised=True, **changes)


def test_info_says_what_a_dump_is(tmp_path):
    write_dump_shard(tmp_path / "video-000000.h5", ROWS[:2], ["a", "b"], attributes("video"), [{"id": "c", "reason": "cut"}])
    finish_dump(tmp_path, ["video-000000"], "qcd:smoke")

    plain, rich = info(tmp_path), info(little(tmp_path / "rich"))

    assert plain[:4] == [
        "domains: 2 video",
        "vectors: 2 of width 4, float32, of any length",
        "made by: qcd:smoke, checkpoint c0ffee",
        "failed items: 1 (failed.jsonl)",
    ]
    assert rich[0] == "domains: 14 goods, 6 video (queries)" and rich[1].endswith("of length 1")
    assert rich[4:6] == ["labels: brand, category", "first ids: g0, g1, g2"] and rich[6].endswith("in 3 shards")


def test_a_sound_dump_passes(tmp_path, capsys):
    main(["verify", str(little(tmp_path / "dump"))])

    assert "20 rows, all whole; lengths: 1 to 1, mean 1" in capsys.readouterr().out


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_rounding_to_float16_is_no_wrong_length(tmp_path, dtype):
    assert verify(little(tmp_path, dtype=dtype), quiet=True).problems == []


def test_odd_rows_are_listed_by_id(tmp_path):
    rows = ROWS.copy()
    rows[3], rows[14] = 0, 3 * rows[14]
    little(tmp_path, rows)
    with h5py.File(tmp_path / "goods-000001.h5", "r+") as file:
        file["embeddings"][2, 1], file["embeddings"][5, 0] = np.nan, np.inf

    problems = verify(tmp_path, quiet=True).problems

    assert [problem.removeprefix(f"{tmp_path}/") for problem in problems] == [
        "goods-000000.h5: 1 rows of zeros, which nothing finds: g3",
        "goods-000001.h5: its bytes have changed since the dump was finished (another checksum); remove it and embed again",
        "goods-000001.h5: 2 rows that are not finite: g9, g12",
        "video.query-000000.h5: 1 rows whose length is not 1, though the dump says so: 视频0",
    ]


def test_rows_too_long_to_search_are_listed_by_id(tmp_path):
    rows = np.ones((14, 4), np.float32)
    rows[3], rows[5], rows[8] = 1e19, 8e18, 3e38  # of lengths 2e19, 1.6e19 and more than float32 holds

    problems = verify(write_dump(tmp_path, [("goods", rows, IDS[:14])]), quiet=True).problems

    assert [problem.removeprefix(f"{tmp_path}/") for problem in problems] == [
        "goods-000000.h5: 1 rows so long that float32 does not hold their inner products; normalise the embeddings: g3",
        "goods-000001.h5: 1 rows so long that float32 does not hold their inner products; normalise the embeddings: g8",
    ]


def test_ids_that_stand_twice_in_a_domain_are_listed(tmp_path):
    ids = [*IDS[:12], "g0", "g1", *IDS[14:]]
    ids[14] = "g5"  # of another domain

    assert verify(little(tmp_path, ids=ids), quiet=True).problems == ["2 goods ids that stand more than once: g0, g1"]


def test_many_odd_rows_are_counted_and_ten_of_them_named(tmp_path):
    [problem] = verify(write_dump(tmp_path, [("goods", np.zeros((30, 4)), [f"g{row}" for row in range(30)])], shard_rows=30), quiet=True).problems

    assert problem.endswith("30 rows of zeros, which nothing finds: g0, g1, g2, g3, g4, g5, g6, g7, g8, g9 and 20 more")


def test_shards_that_are_missing_cut_or_exchanged_are_listed(tmp_path):
    little(tmp_path)
    (tmp_path / "goods-000000.h5").unlink()
    cut = tmp_path / "goods-000001.h5"
    cut.write_bytes(cut.read_bytes()[:3000])
    write_dump_shard(tmp_path / "other/video.h5", ROWS[14:], IDS[14:], attributes("video", role="query", normalised=True, checkpoint="decaf"))
    (tmp_path / "other/video.h5").rename(tmp_path / "video.query-000000.h5")

    problems = "\n".join(verify(tmp_path, quiet=True).problems)

    assert "goods-000000.h5: missing; embed again" in problems
    assert "goods-000001.h5: its bytes have changed" in problems and "goods-000001.h5: not a whole shard" in problems
    assert "video.query-000000.h5: checkpoint decaf" in problems


def test_failed_items_that_are_not_all_listed_are_noticed(tmp_path):
    little(tmp_path)
    (tmp_path / "failed.jsonl").write_text('{"id": "x"}\n')

    assert verify(tmp_path, quiet=True).problems == [
        f"{tmp_path}/failed.jsonl: 1 lines, the manifest counts 0 failed items; embed again, which writes it anew"
    ]


def test_a_dump_with_problems_ends_the_command_with_one_line_and_exit_code_2(tmp_path):
    little(tmp_path / "dump")
    (tmp_path / "dump" / "goods-000000.h5").unlink()
    command = [sys.executable, "-m", "evaluate.dump", "verify", str(tmp_path / "dump")]

    ended = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])

    assert ended.returncode == 2 and "goods-000000.h5: missing" in ended.stdout
    assert ended.stderr.splitlines()[-1] == f"error: {tmp_path / 'dump'}: 1 problem, listed above"


@pytest.mark.parametrize(("domain", "chosen"), [(None, slice(0, 20)), ("video", slice(14, 20))])
def test_an_export_is_what_other_programs_read(tmp_path, domain, chosen):
    written = export(Dump(little(tmp_path / "dump", dtype="float16")), tmp_path / "out", domain, quiet=True)

    rows = np.load(tmp_path / "out/embeddings.npy")
    assert rows.dtype == np.float16
    np.testing.assert_array_equal(rows, ROWS[chosen].astype(np.float16))
    assert (tmp_path / "out/ids.txt").read_text(encoding="utf-8").split("\n") == [*IDS[chosen], ""]
    assert {path.name for path in written} == {path.name for path in (tmp_path / "out").iterdir()}
    array = ArrayVectors(tmp_path / "out/embeddings.npy")
    assert decode_ids(array.ids()) == IDS[chosen]


def test_parquet_holds_ids_domains_and_labels(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed: pip install -e .[parquet]")

    export(Dump(little(tmp_path / "dump")), tmp_path / "out", quiet=True)

    columns = parquet.read_table(tmp_path / "out/ids.parquet").to_pydict()
    assert list(columns) == ["id", "domain", "label.brand", "label.category"]
    assert columns["id"] == IDS and columns["domain"] == ["goods"] * 14 + ["video"] * 6
    assert columns["label.brand"] == ["Nami"] + [None] * 19
    assert [text and json.loads(text) for text in columns["label.category"]] == [["Food", "Fruit"], *[None] * 12, ["Tea"], *[None] * 6]


def test_without_pyarrow_the_rest_is_written_and_said(tmp_path, monkeypatch, capsys):
    found = importlib.util.find_spec
    monkeypatch.setattr(exporting.importlib.util, "find_spec", lambda name, *rest: None if name == "pyarrow" else found(name, *rest))

    main(["export", str(little(tmp_path / "dump")), "--out", str(tmp_path / "out"), "--dtype", "float32"])

    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["embeddings.npy", "ids.txt"]
    assert "ids.parquet was left out: it needs pyarrow (pip install -e .[parquet])" in capsys.readouterr().out


def test_what_cannot_be_exported_is_refused(tmp_path):
    dump = Dump(little(tmp_path / "dump"))
    odd = Dump(write_dump(tmp_path / "odd", [("goods", np.full((1, 4), 1e6), ["two\nlines"])]))
    large = Dump(write_dump(tmp_path / "large", [("goods", np.full((1, 4), 1e6), ["a"])]))

    with pytest.raises(ValueError, match="holds no live; its domains are goods, video"):
        export(dump, tmp_path / "out", "live", quiet=True)
    with pytest.raises(ValueError, match=r"the id 'two\\nlines' has a line break"):
        export(odd, tmp_path / "out", quiet=True)
    with pytest.raises(ValueError, match="too large for float16; export float32"):
        export(large, tmp_path / "out", dtype="float16", quiet=True)
    assert not (tmp_path / "out/embeddings.npy").exists()


def test_an_export_that_fails_leaves_the_former_one_as_it_was(tmp_path):
    export(Dump(little(tmp_path / "dump")), tmp_path / "out", quiet=True)
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    large = Dump(write_dump(tmp_path / "large", [("goods", np.full((1, 4), 1e6), ["a"])]))

    with pytest.raises(ValueError, match="too large for float16"):
        export(large, tmp_path / "out", dtype="float16", quiet=True)

    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


@pytest.mark.parametrize("stops_at", ["embeddings.npy", "ids.txt"])
def test_ids_of_one_export_never_stand_beside_the_array_of_another(tmp_path, monkeypatch, stops_at):
    export(Dump(little(tmp_path / "dump")), tmp_path / "out", quiet=True)
    parquet = tmp_path / "out/ids.parquet"
    parquet.write_bytes(b"of the former")
    other, replace = Dump(write_dump(tmp_path / "other", [("goods", ROWS[:3], ["a", "b", "c"])])), os.replace

    def stops(source, target):
        if Path(target).name == stops_at:
            raise OSError("no space left")
        replace(source, target)

    monkeypatch.setattr(os, "replace", stops)
    with pytest.raises(OSError, match="no space left"):
        export(other, tmp_path / "out", quiet=True)
    monkeypatch.undo()

    assert not (tmp_path / "out/ids.txt").exists(), "half an export is known by this"
    assert not parquet.exists() or parquet.read_bytes() != b"of the former"
    export(other, tmp_path / "out", quiet=True)
    assert len(np.load(tmp_path / "out/embeddings.npy")) == len((tmp_path / "out/ids.txt").read_text().splitlines()) == 3


def test_text_features_are_converted_by_the_command(tmp_path, capsys):
    (tmp_path / "goods.txt").write_text("a\t1,0\nb\t0,1\n")

    main(["convert", str(tmp_path / "goods.txt"), "--out", str(tmp_path / "dump"), "--domain", "goods", "--dtype", "float16", "--checkpoint", "old"])

    assert f"goods.txt: 2 rows of width 2 -> {tmp_path / 'dump'}" in capsys.readouterr().out
    assert (Dump(tmp_path / "dump").checkpoint, Dump(tmp_path / "dump").dtype) == ("old", "float16")
