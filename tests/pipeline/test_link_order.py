"""The links policy: every document once with each of its queries."""

from __future__ import annotations

import itertools
from typing import cast

from pipeline.order import LinkOrder
from pipeline.recipe import Stream
from pipeline.shards import ShardSet
from tests.pipeline.fake_shards import FakeShards

SHARDS = FakeShards([("goods", [[0], [0, 1, 4], [], [2]]), ("query", [[], []]), ("goods", [[3], [0]])])
LINKS = {(0, 0, 0), (0, 1, 0), (0, 1, 1), (0, 1, 4), (0, 3, 2), (2, 0, 3), (2, 1, 0)}


def order(seed: int = 0, window: int = 8) -> LinkOrder:
    return LinkOrder(cast("ShardSet", SHARDS), Stream(batch_size=3, policy="links", window_shards=window), seed)


def test_an_epoch_is_every_link_once_and_the_last_batch_is_filled_up() -> None:
    for window in (1, 8):
        drawn = [tuple(draw) for batch in order(window=window).batches(0) for draw in batch]

        assert order().batches_in(0) == 3 and len(drawn) == 9
        assert set(drawn) == LINKS and len(set(drawn[:7])) == 7


def test_epochs_and_seeds_differ_and_a_tail_can_be_had_without_its_beginning() -> None:
    whole = list(order().batches(1))

    assert list(order().batches(1, start=2)) == whole[2:]
    assert len({str(list(order(seed).batches(epoch))) for seed, epoch in itertools.product((0, 1), (0, 1))}) == 4
