"""A corpus with every kind of broken item, through the packing command: left out and listed, or stopped at, and nothing else is touched."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.bad_items import BadItems
from pipeline.pack import main as pack
from pipeline.shards import ShardSet
from tests.pipeline.broken import listed, samples
from tests.pipeline.corpora import clip, picture, write_catalog
from tests.pipeline.little_pairs import npy
from tests.pipeline.media_clips import X264_CLOSED, write_clip


def npy_saying(descr: str, numbers: int) -> bytes:
    """The beginning of a .npy file of so many numbers, and none of them."""
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': ({numbers},), }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()


HUGE = npy_saying("<f4", 10**15)
"""A .npy file of 128 bytes that says it has four petabytes."""

BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "cut-jpeg": ({"images": ["cut.jpg"]}, "the picture cannot be decoded, its file is truncated or damaged"),
    "page": ({"images": ["page.jpg"]}, "no picture that can be decoded"),
    "gone": ({"images": ["gone.jpg"]}, "missing file"),
    "pipe": ({"images": ["pipe.jpg"]}, "no file but a pipe, a socket or a device"),
    "device": ({"images": ["zeros.jpg"]}, "no file but a pipe, a socket or a device"),
    "cut-video": ({"video": "cut.mp4"}, "FFmpeg cannot read it"),
    "early-video": ({"video": "early.mp4"}, "is cut short; the file is truncated"),
    "playlist": ({"video": "list.mp4"}, "FFmpeg cannot read it"),
    "nan": ({"features": {"vision": "nan.npy"}}, "1 of 6 numbers are not finite (NaN or infinite)"),
    "pickle": ({"features": {"vision": "pickle.npy"}}, "not a .npy array of numbers, but of object"),
    "archive": ({"features": {"vision": "many.npy"}}, "not a .npy array but an archive of several"),
    "huge": ({"features": {"vision": "huge.npy"}}, "not a whole .npy array: 0 bytes of numbers"),
    "above": ({"images": ["../secret.jpg"]}, "media path '../secret.jpg' is not a plain path"),
    "absolute": ({"images": ["/etc/hostname"]}, "media path '/etc/hostname' is not a plain path"),
}
"""Id of a broken item -> the fields that are wrong, and the reason that is given."""

IDS = {"../../etc/passwd": "up", "a/b": "down", "/etc/x": "root", "~": "home", "C:\\x": "drive"}
"""Ids that are whole, whatever they look like -> title."""

LONG = "x" * 10_000


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Whole clips and goods, goods of odd ids, one item of each kind of fault, and lines that are none."""
    root = tmp_path_factory.mktemp("broken") / "corpus"
    records: list[dict[str, Any]] = [{"id": f"g{number}", "domain": "goods", "images": ["whole.jpg"], "queries": ["q"]} for number in range(3)]
    records += [{"id": id, "domain": "goods", "title": title} for id, title in IDS.items()]
    records += [{"id": id, "domain": "video", **fields} for id, (fields, _) in BROKEN.items()]
    records += [{"id": "linked", "domain": "video", "images": ["link.jpg"]}, {"id": LONG, "domain": "goods", "title": "long"}]
    records += [{"id": "g0", "domain": "goods", "title": "once more"}]
    archive = io.BytesIO()
    np.savez(archive, a=np.zeros(2))
    files: dict[str, str | bytes] = {
        "whole.jpg": picture(),
        "cut.jpg": picture(size=(64, 64))[:300],
        "page.jpg": "<html>not found</html>",
        "cut.mp4": clip()[:-200],
        "list.mp4": "ffconcat version 1.0\nfile whole.mp4\n",
        "whole.mp4": clip(),
        "nan.npy": npy(np.array([0, 1, 2, np.nan, 4, 5], np.float32)),
        "pickle.npy": npy_saying("|O", 1) + b"\x80\x04N.",
        "many.npy": archive.getvalue(),
        "huge.npy": HUGE,
    }
    write_catalog(root, records, files)
    write_clip(root / "early.mp4", options=X264_CLOSED, container={"movflags": "faststart"})
    os.truncate(root / "early.mp4", int((root / "early.mp4").stat().st_size * 0.7))
    (root.parent / "secret.jpg").write_bytes(picture())
    (root.parent / "elsewhere.jpg").write_bytes(picture((1, 2, 3)))
    (root / "link.jpg").symlink_to("../elsewhere.jpg")
    (root / "zeros.jpg").symlink_to("/dev/zero")
    os.mkfifo(root / "pipe.jpg")
    with open(root / "catalog.jsonl", "ab") as file:
        file.write(b'{"id": "latin", "domain": "goods", "title": "caf\xe9"}\n{"id": "cut", "domain": "goo\n')
    return root


def command(corpus: Path, out: Path, *flags: str) -> list[str]:
    return ["--data", str(corpus), "--out", str(out), "--workers", "1", "--vocab_size", "0", *flags]


def content(folder: Path) -> dict[str, bytes]:
    """The regular files below `folder`; links are not followed."""
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink()}


def test_every_broken_item_is_left_out_and_listed_and_all_others_are_packed(corpus: Path, tmp_path: Path) -> None:
    before = content(corpus.parent)

    pack(command(corpus, tmp_path / "out"))

    split = tmp_path / "out" / "train"
    found = listed(split / "rejected.jsonl")
    for id, (_, reason) in BROKEN.items():
        assert reason in found.pop(id), id
    assert found.pop("x" * 40 + "…") == f"line {len(BROKEN) + 10}: id of 10,000 bytes, 256 at most: dumps give every id the room of the longest"
    assert found.pop("g0") == f"line {len(BROKEN) + 11}: id 'g0' of domain goods is on line 1 of catalog.jsonl already"
    assert set(found) == {""}  # lines that are no JSON have no id; the last one of them
    assert {id: sample.words().get("title") for id, sample in samples(split).items()} == {"g0": None, "g1": None, "g2": None, "linked": None, **IDS}
    assert samples(split)["linked"].bytes("jpg") == picture((1, 2, 3))  # a link is read, as media often lie on another disk
    assert {path.relative_to(tmp_path).parts[:2] for path in tmp_path.rglob("*") if path.is_file()} == {("out", "train")}
    assert {path.name.partition(".")[0] for path in split.glob("*.tar")} == {"goods-000000", "video-000000"}
    assert content(corpus.parent) == before


@pytest.mark.parametrize("id", ["cut-jpeg", "early-video", "pipe", "nan", "above"])
def test_the_first_broken_item_stops_packing_where_that_is_asked_for(id: str, corpus: Path, tmp_path: Path) -> None:
    fields, reason = BROKEN[id]
    alone = write_catalog(tmp_path / "corpus", [{"id": "whole", "domain": "goods", "title": "x"}, {"id": id, "domain": "video", **fields}])
    for path in corpus.iterdir():
        if path.name != "catalog.jsonl":
            (alone / path.name).symlink_to(path)

    with pytest.raises(ValueError) as stopped:
        pack(command(alone, tmp_path / "out", "--on_bad_item", "stop"))

    assert reason in str(stopped.value) and "--on_bad_item skip goes on" in str(stopped.value)
    assert not (tmp_path / "out/train/manifest.json").exists()


def test_too_many_broken_items_stop_packing_and_more_leave_lets_it_go_on(corpus: Path, tmp_path: Path) -> None:
    out, unlisted, bad = tmp_path / "out", 6, len(BROKEN) + 4

    for most, found in ((3, unlisted), (8, bad)):
        with pytest.raises(
            ValueError, match=rf"train: {found} of 27 items are bad, --max_bad_items {most} allows {most}; one of them: .*or allow more"
        ):
            pack(command(corpus, out, "--max_bad_items", str(most), "--shard_samples", "40"))
        assert len((out / "train/rejected.jsonl").read_text().splitlines()) == found and not (out / "train/manifest.json").exists()
    with pytest.raises(ValueError, match=r"--max_bad_items a few: give a number of items \(250\) or a share of them \(2%\)"):
        pack(command(corpus, out, "--max_bad_items", "a few"))
    pack(command(corpus, out, "--max_bad_items", str(bad), "--shard_samples", "40"))

    assert ShardSet(out / "train").manifest["rejected"] == bad


def test_a_share_of_bad_items_allows_a_hundred_in_any_case() -> None:
    usual, stop = BadItems(), BadItems("stop", "50%")

    assert [usual.most(items) for items in (10, 10_000, 20_000, 2_000_000)] == [100, 100, 200, 20_000]
    assert BadItems(max_bad_items="0.5%").most(100_000) == 500 and BadItems(max_bad_items="7").most(10**6) == 7
    assert stop.most(100) == 0
    with pytest.raises(ValueError, match="--on_bad_item list: choose skip or stop"):
        BadItems("list")
