"""Shards in an object store: an S3-compatible server of this machine, read through s3fs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from pipeline.pack import pack
from pipeline.remote.retries import NotFetched
from pipeline.shards import ShardSet, splits_of
from tests.pipeline.little_corpus import write_little_corpus


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("s3")
    pack(write_little_corpus(folder / "corpus", products=3), folder / "shards", workers=1, shard_samples=5, vocab_size=200)
    return folder / "shards"


@pytest.fixture
def bucket(packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a bucket that holds the packed corpus, on a server that a test starts."""
    server_module = pytest.importorskip("moto.server", reason="needs moto (the extra `test`)")
    pytest.importorskip("s3fs", reason="needs s3fs (the extra `test`)")
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    environment = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "REELGOODS_CACHE": str(tmp_path / "cache"),
        "REELGOODS_REMOTE_TRIES": "2",
        "REELGOODS_REMOTE_WAIT_S": "0",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    store = fsspec.filesystem("s3", skip_instance_cache=True)
    store.mkdir("shop")
    for path in packed.rglob("*"):
        if path.is_file():
            store.pipe_file(f"shop/shards/{path.relative_to(packed)}", path.read_bytes())
    yield "s3://shop/shards"
    server.stop()
    fsspec.get_filesystem_class("s3").clear_instance_cache()


def test_a_corpus_in_a_bucket_reads_as_the_one_that_lies_here_and_an_exchanged_or_missing_shard_is_named(packed: Path, bucket: str) -> None:
    here, found = ShardSet(packed / "train"), splits_of(bucket)
    remote = ShardSet(found["train"])

    for number, info in enumerate(here.shards):
        for row in range(info.samples):
            one, other = remote.shard(number).sample(row), here.shard(number).sample(row)
            assert [one.bytes(suffix) for suffix in one.members] == [other.bytes(suffix) for suffix in other.members]
    assert list(found) == ["train", "test"]

    store = fsspec.filesystem("s3", skip_instance_cache=True)
    videos = ShardSet(f"{bucket}/test/video-{{000000..000000}}.tar")
    store.pipe_file("shop/shards/test/video-000000.tar", bytes(videos.shards[0].bytes))
    with pytest.raises(NotFetched, match=r"s3://shop/shards/test/video-000000.tar: another shard than the one that was packed"):
        videos.shard(0).sample(0).bytes("json")
    store.rm_file("shop/shards/test/video-000000.tar")
    with pytest.raises(NotFetched, match=r"video-000000.tar: not there, though the manifest lists video-000000"):
        videos.shard(0).sample(0).bytes("json")


def test_without_credentials_it_is_tried_once_and_said_where_they_are_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = pytest.importorskip("s3fs", reason="needs s3fs (the extra `test`)").S3FileSystem
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    nowhere = str(tmp_path / "nowhere")
    environment = {
        "AWS_SHARED_CREDENTIALS_FILE": nowhere,
        "AWS_CONFIG_FILE": nowhere,
        "AWS_EC2_METADATA_DISABLED": "true",
        "REELGOODS_CACHE": nowhere,
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    store.clear_instance_cache()

    with pytest.raises(
        NotFetched,
        match=r"^s3://shop/shards/train/manifest.json: no credentials \(NoCredentialsError.*the store's own settings hold credentials \(AWS_PROFILE",
    ):
        ShardSet("s3://shop/shards/train")
    store.clear_instance_cache()
