"""Shards on a web server: they read as if they lay here, whatever the server does, or it is said what is the matter."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from launch.files import read_json, write_json
from pipeline.pack import pack
from pipeline.remote.retries import Interrupted, NotFetched, persistently, waits
from pipeline.remote.settings import RemoteSettings, remote_settings
from pipeline.shards import ShardSet, is_shard_set, open_shards, splits_of
from tests.pipeline.bad_server import FLOOD, BadServer, serving
from tests.pipeline.little_corpus import write_little_corpus


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("remote")
    pack(write_little_corpus(folder / "corpus"), folder / "shards", workers=1, shard_samples=5, vocab_size=200)
    return folder / "shards"


@pytest.fixture
def server(packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[BadServer]:
    """A server of a copy of the packed corpus; three tries without waiting; an empty cache."""
    shutil.copytree(packed, tmp_path / "served")
    for name, value in {"CACHE": str(tmp_path / "cache"), "CACHE_SIZE": "1GB", "REMOTE_TRIES": "3", "REMOTE_WAIT_S": "0"}.items():
        monkeypatch.setenv(f"REELGOODS_{name}", value)
    with serving(tmp_path / "served") as running:
        yield running


def contents(shards: ShardSet) -> list[tuple[str, str, bytes]]:
    """Every member of every sample."""
    opened = [shards.shard(number) for number in range(len(shards.shards))]
    return [
        (sample.name, suffix, sample.bytes(suffix))
        for shard in opened
        for sample in map(shard.sample, range(len(shard)))
        for suffix in sample.members
    ]


def test_a_remote_split_reads_as_the_one_that_lies_here_and_each_shard_comes_once(packed: Path, server: BadServer) -> None:
    remote, here = ShardSet(f"{server.address}/test"), ShardSet(packed / "test")

    first = contents(remote)
    again = contents(pickle.loads(pickle.dumps(remote)))
    once_more = contents(ShardSet(f"{server.address}/test/"))

    assert first == again == once_more == contents(here)
    assert remote.counts == here.counts and remote.queries() == here.queries()
    task = remote.ground_truth("video2goods")
    assert task is not None and task.read_bytes() == (packed / "test/ground_truth/video2goods.tsv").read_bytes()
    of_shards = {path: count for path, count in server.requests.items() if path.endswith((".tar", ".npz"))}
    assert of_shards == {f"test/{info.name}{suffix}": 1 for info in here.shards for suffix in (".tar", ".index.npz")}


def test_a_folder_of_splits_is_known_by_the_manifests_below_it_and_a_range_by_its_shards(packed: Path, server: BadServer) -> None:
    found = splits_of(server.address)
    some = open_shards(f"{server.address}/train/video-{{000001..000002}}.tar", "train")
    here = ShardSet(packed / "train/video-{000001..000002}.tar")

    assert is_shard_set(server.address) and list(found) == ["train", "test"]
    assert found["train"].parent == found["test"].parent  # as they lie there
    assert (ShardSet(found["train"]).tokenizer() / "vocab.txt").read_bytes() == (packed / "train/tokenizer/vocab.txt").read_bytes()  # type: ignore[operator]
    assert [info.name for info in some.shards] == ["video-000001", "video-000002"] and some.counts == here.counts == {"video": 10}
    assert contents(some) == contents(here)
    with pytest.raises(ValueError, match=r"names 96 shards that its manifest does not have, the first video-000005"):
        ShardSet(packed / "train/video-{000001..000100}.tar")
    with pytest.raises(ValueError, match="holds the splits train, test; name one of them"):
        ShardSet(server.address)
    with pytest.raises(ValueError, match=r"/nothing/test/manifest.json: not there; name the folder of a packed split"):
        splits_of(f"{server.address}/nothing")


def test_connections_that_drop_servers_that_are_busy_and_lengths_that_lie_cost_a_try_each(packed: Path, server: BadServer) -> None:
    here = ShardSet(packed / "train")
    faults = ["drop", "busy", "cut", "boast", "flood", "swap"]
    for info, fault in zip(here.shards, faults):
        server.faults[f"train/{info.name}.tar"] = [fault]
        server.faults[f"train/{info.name}.index.npz"] = [fault if fault not in ("flood", "swap") else "drop"]
    server.faults["train/manifest.json"] = ["drop", "busy"]

    remote = ShardSet(f"{server.address}/train")

    assert contents(remote) == contents(here)
    assert [server.requests[f"train/{info.name}.tar"] for info in here.shards] == [2] * 6 + [1]
    assert [server.requests[f"train/{info.name}.index.npz"] for info in here.shards] == [2] * 6 + [1]
    assert server.requests["train/manifest.json"] == 3
    assert server.sent < FLOOD  # what came without end was stopped on the way


@pytest.mark.parametrize(
    ("fault", "requests", "message"),
    [
        ("busy", 3, r"video-000000.tar: could not be fetched, 3 tries in 0 s; the last: .*503.*; |--remote_tries"),
        ("drop", 3, r"could not be fetched, 3 tries in 0 s; the last: Client\w+: .*"),
        ("cut", 3, r"could not be fetched, 3 tries .* the last: \d+ of its \d+ bytes arrived"),
        ("silent", 3, r"could not be fetched, 3 tries .* the last: \w*Timeout\w*: .*"),
        ("swap", 2, r"video-000000.tar: another shard .*SHA-256 is \w{12}…, the manifest says \w{12}…, and so it arrived twice; it was exchanged"),
        ("gone", 1, r"video-000000.tar: not there, though the manifest lists video-000000; copy the folder as a whole"),
        ("refused", 1, r"video-000000.tar: refused \(.*403"),
    ],
)
def test_after_the_last_try_the_error_names_address_tries_reason_and_remedy(
    server: BadServer, monkeypatch: pytest.MonkeyPatch, fault: str, requests: int, message: str
) -> None:
    if fault == "silent":
        monkeypatch.setenv("REELGOODS_REMOTE_TIMEOUT_S", "0.2")
    remote = ShardSet(f"{server.address}/train")
    server.faults["train/video-000000.tar"] = [fault] * 9

    with pytest.raises(NotFetched, match=message) as raised:
        remote.shard(remote.of_domain("video")[0]).sample(0).bytes("json")

    assert f"{server.address}/train/video-000000.tar" in str(raised.value) and "; " in str(raised.value)
    assert server.requests["train/video-000000.tar"] == requests
    assert sorted(path.name for path in remote.folder.glob("*.tar")) == [] and not list(remote.folder.glob(".*part"))


def test_a_set_that_was_packed_again_is_read_anew_and_never_mixed_with_what_was_kept(packed: Path, server: BadServer, tmp_path: Path) -> None:
    former = ShardSet(f"{server.address}/train")
    contents(former)
    shutil.rmtree(server.folder)
    pack(write_little_corpus(tmp_path / "other", products=5), server.folder, workers=1, shard_samples=5, vocab_size=200)

    later = ShardSet(f"{server.address}/train")

    assert later.folder == former.folder
    with pytest.raises(NotFetched, match=r"is open in a version with another checksum .*; end what reads it, or give another --cache"):
        contents(later)
    del former
    assert contents(later) == contents(ShardSet(server.folder / "train")) != contents(ShardSet(packed / "train"))


def test_a_manifest_that_names_files_elsewhere_is_refused_before_anything_is_written(server: BadServer, tmp_path: Path) -> None:
    path = server.folder / "test/manifest.json"
    manifest = read_json(path)
    write_json(path, manifest | {"ground_truth": ["../../../out"]})

    with pytest.raises(ValueError, match=r"'ground_truth/../../../out.tsv' is no name of a file of a packed split"):
        ShardSet(f"{server.address}/test")
    write_json(path, manifest | {"shards": [manifest["shards"][0] | {"name": "../../x"}]})
    with pytest.raises(ValueError, match=r"'../../x' is no name of a split or a shard"):
        ShardSet(f"{server.address}/test")
    assert not list(tmp_path.rglob("out.tsv")) and not list(tmp_path.rglob("x.*"))


def test_waits_double_up_to_the_longest_with_jitter_that_follows_from_seed_rank_and_name(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = RemoteSettings(Path("cache"), 1, tries=9, first_wait_s=1.0, longest_wait_s=20.0)

    drawn = list(waits("a", settings))

    assert len(drawn) == 8
    assert all(most / 2 <= wait < most for wait, most in zip(drawn, [1, 2, 4, 8, 16, 20, 20, 20]))
    assert drawn == list(waits("a", settings)) != list(waits("b", settings))
    monkeypatch.setenv("RANK", "1")
    assert drawn != list(waits("a", settings))


def test_a_wait_lies_between_two_tries_and_none_after_the_last() -> None:
    settings, slept, tries = RemoteSettings(Path("cache"), 1, tries=4), list[float](), list[int]()

    def fail() -> None:
        tries.append(len(slept))
        raise Interrupted("busy")

    with pytest.raises(
        NotFetched, match=r"a: could not be fetched, 4 tries in 0 s; the last: busy. See whether this machine can read it at all; --remote"
    ):
        persistently("a", fail, settings, sleep=slept.append)

    assert tries == [0, 1, 2, 3] and slept == list(waits("a", settings))


def test_settings_that_are_no_numbers_or_sizes_are_named_with_their_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value, message in [
        ("CACHE_SIZE", "much", "--cache_size much: give a size such as 500MB"),
        ("REMOTE_TRIES", "0", "--remote_tries 0: give a number, at least 1"),
        ("REMOTE_TIMEOUT_S", "soon", "--remote_timeout_s soon: give a number"),
    ]:
        with monkeypatch.context() as patch:
            patch.setenv(f"REELGOODS_{name}", value)
            with pytest.raises(ValueError, match=message):
                remote_settings()
