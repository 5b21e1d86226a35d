"""The stream over shards elsewhere: the same batches, what is needed soon fetched before, a cache that may be small."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from launch.seeds import generator
from pipeline.documents import DocumentPreparation, DocumentSettings
from pipeline.order import Draw, order_of
from pipeline.order.lookahead import looking_ahead
from pipeline.pack import pack
from pipeline.recipe import Stream
from pipeline.remote.cache import Cache
from pipeline.shards import ShardSet
from pipeline.stream import EvaluationBatch, Slice, evaluation_batches, training_batches
from pipeline.system import Batch
from tests.pipeline.bad_server import BadServer, serving
from tests.pipeline.little_corpus import write_little_corpus

WINDOW = 1


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stream")
    return pack(write_little_corpus(folder / "corpus"), folder / "shards", workers=1, shard_samples=4, vocab_size=200, splits=["train"])["train"]


@pytest.fixture
def server(packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[BadServer]:
    for name, value in {"CACHE": str(tmp_path / "cache"), "REMOTE_TRIES": "3", "REMOTE_WAIT_S": "0"}.items():
        monkeypatch.setenv(f"REELGOODS_{name}", value)
    with serving(packed) as running:
        yield running


def settings(policy: str = "document") -> Stream:
    return Stream(batch_size=4, window_shards=WINDOW, policy=policy)  # type: ignore[arg-type]


def preparation(shards: ShardSet) -> DocumentPreparation:
    tokenizer = shards.tokenizer()
    assert tokenizer is not None
    return DocumentPreparation(DocumentSettings(), 16, tokenizer, settings())


def batches(shards: ShardSet, workers: int = 0, policy: str = "document") -> list[Batch]:
    order = order_of(shards, settings(policy), seed=0)
    part = Slice(0, 1)
    return list(training_batches(shards, order, preparation(shards), seed=0, part=part, epochs=range(2), workers=workers, prefetch=2))


def same(first: list[Batch], second: list[Batch]) -> bool:
    alike = (one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one) for one, two in zip(first, second))
    return len(first) == len(second) and all(alike)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_remote_corpus_streams_as_the_one_that_lies_here_through_a_cache_of_a_third_of_it(
    packed: Path, server: BadServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    here = ShardSet(packed)
    sizes = sorted(info.bytes for info in here.shards)
    room = 3 * sizes[-1]
    assert sum(sizes) > 2 * room
    monkeypatch.setenv("REELGOODS_CACHE_SIZE", str(room))
    monkeypatch.setattr("pipeline.remote.mirror.OPEN", 1)  # three processes, and three shards that may be open
    server.faults[f"{here.shards[0].name}.tar"] = ["drop", "busy"]

    remote = ShardSet(server.address)

    assert same(batches(remote, workers), batches(here))
    assert Cache(tmp_path / "cache", room).used() <= room
    assert not list((tmp_path / "cache").rglob("*.part"))
    fetched = sum(count for path, count in server.requests.items() if path.endswith(".tar"))
    assert fetched > len(here.shards)  # the second epoch fetches again what the cache could not keep


def test_shards_are_asked_for_before_the_batch_that_reads_them(packed: Path, server: BadServer) -> None:
    remote = ShardSet(server.address)
    stream = training_batches(
        remote, order_of(remote, settings(), seed=0), preparation(remote), seed=0, part=Slice(0, 1), epochs=range(1), workers=0, prefetch=2
    )

    every = {f"{info.name}.tar" for info in remote.shards}

    next(stream)
    end = time.monotonic() + 60
    while not every <= set(server.requests) and time.monotonic() < end:
        time.sleep(0.01)  # the threads need a moment
    stream.close()  # type: ignore[attr-defined]

    assert every <= set(server.requests)


def test_an_order_that_reads_anywhere_needs_a_cache_that_holds_the_corpus(packed: Path, server: BadServer, monkeypatch: pytest.MonkeyPatch) -> None:
    total = sum(info.bytes for info in ShardSet(packed).shards)
    monkeypatch.setenv("REELGOODS_CACHE_SIZE", str(total - 1))

    with pytest.raises(ValueError, match=r"reads from .* of shards at a time, the cache holds .*; give a larger --cache_size, or --stream.policy"):
        batches(ShardSet(server.address), policy="published")
    monkeypatch.setenv("REELGOODS_CACHE_SIZE", str(total))
    assert same(batches(ShardSet(server.address), policy="published"), batches(ShardSet(packed), policy="published"))


def test_a_shard_that_cannot_be_had_ends_training_and_evaluation_and_is_no_fault_of_its_items(packed: Path, server: BadServer) -> None:
    server.faults["video-000001.tar"] = ["busy"] * 100
    remote = ShardSet(server.address)
    videos = iter(remote.of_domain("video"))
    unread: list[object] = []

    with pytest.raises(ValueError, match=r"video-000001.tar: could not be fetched, 3 tries"):
        list(
            training_batches(
                remote,
                order_of(remote, settings(), seed=0),
                preparation(remote),
                seed=0,
                part=Slice(0, 1),
                epochs=range(1),
                workers=0,
                prefetch=2,
                unread=unread.extend,
            )
        )
    found: list[EvaluationBatch] = []
    with pytest.raises(ValueError, match=r"video-000001.tar: could not be fetched, 3 tries"):
        found.extend(evaluation_batches(remote, lambda: next(videos, None), preparation(remote), batch_size=3, workers=0))
    assert unread == [] and not any(piece.failures for piece in found)


def test_an_evaluation_takes_one_shard_ahead_and_gives_the_same_pieces(packed: Path, server: BadServer) -> None:
    def pieces(shards: ShardSet) -> list[EvaluationBatch]:
        numbers = iter(shards.of_domain("video"))
        return list(evaluation_batches(shards, lambda: next(numbers, None), preparation(shards), batch_size=3, workers=0))

    remote, here = pieces(ShardSet(server.address)), pieces(ShardSet(packed))

    assert [(piece.shard, piece.first, piece.ids) for piece in remote] == [(piece.shard, piece.first, piece.ids) for piece in here]
    assert same([piece.batch for piece in remote if piece.batch], [piece.batch for piece in here if piece.batch])
    assert {path: count for path, count in server.requests.items() if path.endswith(".tar")} == {
        f"{info.name}.tar": 1 for info in ShardSet(packed).shards if info.domain == "video"
    }


@pytest.mark.parametrize("room", [0, 40, 95, 10**9])
def test_every_shard_is_named_before_it_is_read_and_what_is_in_sight_keeps_to_its_room(room: int) -> None:
    rng = generator("sight", room)
    sizes = [int(size) for size in rng.integers(5, 15, 30)]
    windows = np.repeat(np.arange(10), 6)  # ten windows of three shards, six batches of five draws each
    given = [(0, [Draw(int(shard), 0, -1) for shard in 3 * window + rng.integers(0, 3, 5)]) for window in windows]

    told: list[int] = []
    for place, (epoch, draws, soon) in enumerate(looking_ahead(iter(given), sizes, room)):
        told.extend(soon)
        assert (epoch, draws) == given[place]
        assert {draw.shard for draw in draws} <= set(told)
        left = {draw.shard for _, later in given[place:] for draw in later}
        assert sum(sizes[shard] for shard in set(told) & left) <= room + 3 * 14  # and the shards of one batch
    assert place == len(given) - 1
    assert sorted(set(told)) == sorted({draw.shard for _, draws in given for draw in draws})
    assert (len(told) == len(set(told))) or room < 3 * 14  # named again only where it was out of sight in between
