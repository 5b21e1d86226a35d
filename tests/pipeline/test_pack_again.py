"""Packing into a folder that holds something, and what is said of wrong words on the command line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from launch.command import run_command
from launch.files import read_json
from pipeline.pack import main, pack
from pipeline.shards import ShardSet
from tests.pipeline.corpora import picture, write_catalog, write_files
from tests.pipeline.packed import content, ids


def test_a_packed_corpus_is_left_alone_and_other_settings_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = write_catalog(tmp_path / "corpus", [{"id": "a", "domain": "goods", "title": "x"}])
    pack(corpus, tmp_path / "out", workers=1, vocab_size=0)
    before = (tmp_path / "out/train/manifest.json").stat().st_mtime_ns

    pack(corpus, tmp_path / "out", workers=1, vocab_size=0)

    assert "train: already packed, 1 goods, 0 queries in 1 shards" in capsys.readouterr().out
    assert (tmp_path / "out/train/manifest.json").stat().st_mtime_ns == before
    with pytest.raises(ValueError, match=r"packed from other inputs \(shard_samples was 1000, now 5\); give another --out, or --overwrite"):
        pack(corpus, tmp_path / "out", workers=1, vocab_size=0, shard_samples=5)
    write_catalog(corpus, [{"id": "b", "domain": "goods", "title": "x"}])
    with pytest.raises(ValueError, match=r"\(file catalog\.jsonl was [0-9a-f]{12}, now [0-9a-f]{12}\)"):
        pack(corpus, tmp_path / "out", workers=1, vocab_size=0)
    pack(corpus, tmp_path / "out", workers=1, vocab_size=0, overwrite=True)
    assert ids(ShardSet(tmp_path / "out" / "train"), "goods") == ["b"]


def test_an_unfinished_split_of_other_settings_is_begun_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = write_catalog(tmp_path / "corpus", [{"id": "a", "domain": "goods", "images": ["gone.jpg"]}])
    with pytest.raises(ValueError, match="nothing to pack"):
        pack(corpus, tmp_path / "out", workers=1)

    write_files(corpus, {"gone.jpg": picture()})
    pack(corpus, tmp_path / "out", workers=1, shard_samples=7)

    assert "was begun with other inputs (shard_samples was 1000, now 7); packing it from the start" in capsys.readouterr().out
    assert ids(ShardSet(tmp_path / "out" / "train"), "goods") == ["a"]


def test_a_folder_of_something_else_is_never_touched(tmp_path: Path) -> None:
    corpus = write_catalog(tmp_path / "corpus", [{"id": "a", "domain": "goods", "title": "x"}])
    write_files(tmp_path / "out", {"train/thesis.txt": "years of work"})

    with pytest.raises(ValueError, match=r"out/train: not empty and not a packed split; give another --out"):
        pack(corpus, tmp_path / "out", workers=1, overwrite=True)

    assert content(tmp_path / "out") == {"train/thesis.txt": b"years of work"}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--out", "CORPUS/packed"], "lies inside the corpus"),
        (["--splits", "val"], "no split val; it has train"),
        (["--shard_samples", "0"], "--shard_samples 0: must be at least 1"),
        (["--vocab_size", "3"], "--vocab_size 3: a vocabulary needs at least 10 entries, or 0 for none"),
        (["--source", "real20m"], "not laid out as --source real20m"),
    ],
)
def test_wrong_words_on_the_command_line_get_one_clear_line(tmp_path: Path, words: list[str], expected: str) -> None:
    corpus = write_catalog(tmp_path / "corpus", [{"id": "a", "domain": "goods", "title": "x"}])

    with pytest.raises(ValueError, match=expected):
        main(["--data", str(corpus), "--out", str(tmp_path / "out"), *(word.replace("CORPUS", str(corpus)) for word in words)])


def test_a_packed_shard_set_is_no_corpus(tmp_path: Path) -> None:
    pack(write_catalog(tmp_path / "corpus", [{"id": "a", "domain": "goods", "title": "x"}]), tmp_path / "out", workers=1)

    with pytest.raises(ValueError, match="out: a packed shard set already; --data names the root of a corpus"):
        pack(tmp_path / "out", tmp_path / "again")


def test_a_corpus_of_one_domain_is_packed_and_said_to_be_of_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = write_catalog(tmp_path / "corpus", [{"id": "a", "domain": "goods", "title": "x", "queries": ["q"]}])

    pack(corpus, tmp_path / "out", workers=1)

    expected = "no items of domain video or live; training needs goods and video, searching one domain with another needs two"
    assert expected in capsys.readouterr().out
    assert read_json(tmp_path / "out/train/manifest.json")["counts"] == {"goods": 1}


def test_a_missing_corpus_ends_the_command_with_one_line_and_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["pack", "--data", str(tmp_path / "nowhere"), "--out", str(tmp_path / "out")])

    with pytest.raises(SystemExit) as caught:
        run_command(main)

    assert caught.value.code == 2
    assert capsys.readouterr().err == f"error: {tmp_path / 'nowhere'}: no such folder; --data names the root of a corpus\n"
