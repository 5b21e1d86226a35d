"""What a person may write where shards lie elsewhere, and commands that print them."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from launch.files import read_json, write_json
from pipeline.pack import pack
from pipeline.remote.address import Address, addresses_of, is_remote
from pipeline.remote.retries import NotFetched
from pipeline.shards import ShardSet, splits_of
from tests.pipeline.little_corpus import write_little_corpus


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pipe")
    pack(write_little_corpus(folder / "corpus", products=4), folder / "shards", workers=1, shard_samples=4, vocab_size=200)
    return folder / "shards"


@pytest.fixture(autouse=True)
def little_patience(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"CACHE": str(tmp_path / "cache"), "REMOTE_TRIES": "2", "REMOTE_WAIT_S": "0"}.items():
        monkeypatch.setenv(f"REELGOODS_{name}", value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s3://b/shards/train/", [Address("s3://b/shards/train/{}")]),
        ("gs://b/train/video-{000..009}.tar", [Address("gs://b/train/{}", "video-{000..009}.tar")]),
        ("https://h/get?file={}&key=1", [Address("https://h/get?file={}&key=1")]),
        ("s3://b/{train,val}", [Address("s3://b/train/{}"), Address("s3://b/val/{}")]),
        ("pipe:aws s3 cp s3://b/train/{} -", [Address("pipe:aws s3 cp s3://b/train/{} -")]),
        ("pipe:cat /d/train/goods-000.tar", [Address("pipe:cat /d/train/{}", "goods-000.tar")]),
        ("pipe:ssh h cat '/d/{train,val}/{}'", [Address("pipe:ssh h cat '/d/train/{}'"), Address("pipe:ssh h cat '/d/val/{}'")]),
        (
            "pipe:cat /d/{train,val}/{video,goods}-{0..1}.tar | tail -c +1",
            [Address(f"pipe:cat /d/{split}/{{}} | tail -c +1", "{video,goods}-{0..1}.tar") for split in ("train", "val")],
        ),
    ],
)
def test_an_address_says_where_a_files_name_goes_which_splits_and_which_shards(text: str, expected: list[Address]) -> None:
    assert is_remote(text)
    assert addresses_of(text) == expected


def test_neighbour_splits_are_kept_beside_each_other_and_other_sets_elsewhere() -> None:
    train, val, other, asked = (addresses_of(text)[0].mirror() for text in ("s3://b/x/train", "s3://b/x/val", "s3://b/y/train", "https://h/?f={}"))

    assert train.parent == val.parent != other.parent
    assert (train.name, val.name, asked.name) == ("train", "val", "split")
    assert not is_remote("/data/s3:/x") and not is_remote("C/data") and not is_remote(Path("pipe:x"))


def test_what_a_command_prints_reads_as_the_split_itself(packed: Path, tmp_path: Path) -> None:
    here = ShardSet(packed / "train")
    log = tmp_path / "log"

    remote = ShardSet(f"pipe:echo {{}} >> {log}; cat {packed}/train/{{}}")
    some = ShardSet(f"pipe:cat {packed}/train/video-{{000000..000001}}.tar")

    for number, info in enumerate(here.shards):
        for row in range(info.samples):
            assert remote.shard(number).sample(row).record == here.shard(number).sample(row).record
    assert len([line for line in log.read_text().split() if line.endswith(".tar")]) == len(here.shards)
    assert some.counts == {"video": 8} and some.shard(1).sample(3).record == here.shard(here.of_domain("video")[1]).sample(3).record
    assert list(splits_of(f"pipe:cat {packed}/{{test,train}}/{{}}")) == ["train", "test"]


def test_a_command_that_fails_says_its_last_word_and_one_that_hangs_is_ended_with_its_children(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NotFetched, match=r"pipe:cat .*/nowhere/manifest.json: could not be fetched, 2 tries .*exit code 1: cat: .*nowhere"):
        ShardSet(f"pipe:cat {packed}/nowhere/{{}}")

    monkeypatch.setenv("REELGOODS_REMOTE_TIMEOUT_S", "0.3")
    with pytest.raises(NotFetched, match=r"2 tries .* the last: the command printed nothing for 0.3 s"):
        ShardSet(f"pipe:sh -c 'sleep 60; cat {{}}' & echo $! >> {tmp_path}/children; wait")
    children = [int(line) for line in (tmp_path / "children").read_text().split()]
    deadline = time.monotonic() + 10
    while any(runs(child) for child in children) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(children) == 2 and not any(runs(child) for child in children)


def runs(process: int) -> bool:
    """True where it is there and no zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_name_in_a_manifest_is_never_a_command(packed: Path, tmp_path: Path) -> None:
    manifest = read_json(packed / "train/manifest.json")
    evil = tmp_path / "evil"
    (evil / "tokenizer").mkdir(parents=True)
    for file in ("queries.jsonl", "rejected.jsonl", *(f"tokenizer/{path.name}" for path in (packed / "train/tokenizer").iterdir())):
        (evil / file).write_bytes((packed / "train" / file).read_bytes())
    write_json(evil / "manifest.json", manifest | {"shards": [manifest["shards"][0] | {"name": f"x; touch {tmp_path}/done; x"}]})

    with pytest.raises(ValueError, match="is no name of a split or a shard"):
        ShardSet(f"pipe:cat {evil}/{{}}")
    with pytest.raises(ValueError, match="is no name of a file of a packed split"):
        Address(f"pipe:cat {evil}/{{}}").file("$(touch done)")
    assert not os.path.exists(tmp_path / "done")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pipe:cat /data/train", r"does not say where a file's name goes; write {} there"),
        ("s3://", "an address without a host or a folder"),
        ("nonesuch://b/train", "no such kind of address"),
        ("pipe:cat /d/{train,train}/{}", "could not be fetched"),
    ],
)
def test_what_cannot_be_read_is_said_in_a_line(text: str, message: str) -> None:
    with pytest.raises((ValueError, NotFetched), match=message):
        splits_of(text)
