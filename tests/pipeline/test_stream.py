"""The training stream: what comes out of it does not depend on loader processes, nor on where it begins."""

from __future__ import annotations

import itertools

import pytest
import torch

from pipeline.documents import DocumentPreparation, DocumentSettings
from pipeline.order import order_of
from pipeline.pack import pack
from pipeline.recipe import Stream
from pipeline.shards import ShardSet
from pipeline.stream import Slice, training_batches
from pipeline.system import Batch
from tests.pipeline.little_corpus import write_little_corpus


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    folder = tmp_path_factory.mktemp("stream")
    return ShardSet(pack(write_little_corpus(folder / "corpus"), folder / "shards", workers=1, vocab_size=200)["train"])


def batches(shards: ShardSet, epochs: range, start: int = 0, workers: int = 0) -> list[Batch]:
    settings = Stream(batch_size=6, policy="published")
    tokenizer = shards.tokenizer()
    assert tokenizer is not None
    preparation = DocumentPreparation(DocumentSettings(), 16, tokenizer, settings)
    order = order_of(shards, settings, seed=0)
    return list(training_batches(shards, order, preparation, seed=0, part=Slice(0, 1), epochs=epochs, start=start, workers=workers, prefetch=2))


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
