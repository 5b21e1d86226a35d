"""The training stream: what comes out of it does not depend on loader processes, nor on where it begins."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator

import pytest
import torch

from pipeline.documents import DocumentPreparation, DocumentSettings
from pipeline.order import order_of
from pipeline.pack import pack
from pipeline.recipe import Stream
from pipeline.shards import Sample, ShardSet
from pipeline.stream import Slice, training_batches
from pipeline.system import Batch
from tests.pipeline.little_corpus import write_little_corpus


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    folder = tmp_path_factory.mktemp("stream")
    return ShardSet(pack(write_little_corpus(folder / "corpus"), folder / "shards", workers=1, vocab_size=200)["train"])


def stream_of(shards: ShardSet, epochs: range, start: int = 0, workers: int = 0) -> Iterator[Batch]:
    settings = Stream(batch_size=6, policy="published")
    tokenizer = shards.tokenizer()
    assert tokenizer is not None
    preparation = DocumentPreparation(DocumentSettings(), 16, tokenizer, settings)
    order = order_of(shards, settings, seed=0)
    return training_batches(shards, order, preparation, seed=0, part=Slice(0, 1), epochs=epochs, start=start, workers=workers, prefetch=2)


def batches(shards: ShardSet, epochs: range, start: int = 0, workers: int = 0) -> list[Batch]:
    return list(stream_of(shards, epochs, start, workers))


def same(first: list[Batch], second: list[Batch]) -> bool:
    alike = (one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one) for one, two in zip(first, second))
    return len(first) == len(second) and all(alike)


@pytest.mark.parametrize("workers", [0, 2])
def test_epochs_follow_each_other_as_if_each_were_streamed_alone(shards, workers):
    one_by_one = list(itertools.chain.from_iterable(batches(shards, range(epoch, epoch + 1)) for epoch in range(3)))

    together = batches(shards, range(3), workers=workers)

    assert same(together, one_by_one)
    assert not same(together[: len(together) // 3], together[-(len(together) // 3) :])  # epochs differ


def test_a_stream_that_begins_in_an_epoch_leaves_out_the_beginning_of_that_epoch_alone(shards):
    whole = batches(shards, range(2))

    assert same(batches(shards, range(2), start=2), whole[2:])


def test_a_stream_that_begins_in_an_epoch_reads_what_is_still_to_come_and_nothing_else(shards, monkeypatch):
    read, bytes_of = [], Sample.bytes

    def noted(self: Sample, suffix: str) -> bytes:
        read.append((self.domain, self.id, suffix))
        return bytes_of(self, suffix)

    monkeypatch.setattr(Sample, "bytes", noted)
    last_epoch = len(batches(shards, range(2, 3)))
    read.clear()
    batches(shards, range(3))
    all_read, read[:] = list(read), []

    batches(shards, range(2, 3), start=last_epoch - 1)

    assert len([what for what in read if what[-1] == "json"]) == 6  # a batch
    assert len(all_read) > 4 * len(read)
    assert read == all_read[-len(read) :]


def test_a_signal_to_the_group_of_a_rank_leaves_its_loader_processes_to_it(shards):
    already = {child.pid for child in multiprocessing.active_children()}

    stream = stream_of(shards, range(3), workers=2)
    first = next(stream)
    loaders = [child.pid for child in multiprocessing.active_children() if child.pid not in already]
    assert len(loaders) == 2
    end = time.monotonic() + 60
    while os.getpgid(0) in (groups := {os.getpgid(loader) for loader in loaders}) and time.monotonic() < end:
        time.sleep(0.01)  # the first batch is of the first process: the second may not have begun
    assert os.getpgid(0) not in groups
    rest = iter([next(stream), next(stream)])  # one of each process, which looks at signals from its beginning on
    for loader in loaders:
        os.kill(loader, signal.SIGUSR1)

    assert same([first, *rest, *stream], batches(shards, range(3)))
