"""The clips policy: every micro-video once an epoch, and a tail of an epoch without its beginning."""

from __future__ import annotations

from collections import Counter

import pytest

from pipeline.order import OWN_QUERY, ClipOrder, order_of
from pipeline.recipe import Stream
from tests.pipeline.fake_shards import FakeShards

SETTINGS = Stream(batch_size=4, policy="clips")


def shards() -> FakeShards:
    """Five goods, ten clips in two shards and a live stream; no clip but the first two has a query."""
    return FakeShards([("goods", [[0]] * 5), ("video", [[1], [2], [], [], [], []]), ("video", [[]] * 4), ("live", [[]])])


def test_an_epoch_is_every_clip_once_with_or_without_a_query() -> None:
    order = order_of(shards(), SETTINGS, seed=1)

    first = [list(batch) for batch in order.batches(0)]

    assert isinstance(order, ClipOrder) and order.batches_in(0) == len(first) == 3 and all(len(batch) == 4 for batch in first)
    drawn = [(draw.shard, draw.row) for batch in first for draw in batch]
    assert set(drawn[:10]) == {(1, row) for row in range(6)} | {(2, row) for row in range(4)}
    assert Counter(drawn).most_common(1)[0][1] <= 2 and all(draw.query == OWN_QUERY for batch in first for draw in batch)
    assert [list(batch) for batch in order.batches(1)] != first


@pytest.mark.parametrize("start", [1, 2])
def test_a_tail_of_an_epoch_needs_no_beginning(start: int) -> None:
    order = order_of(shards(), SETTINGS, seed=1)

    assert list(order.batches(3, start)) == list(order.batches(3))[start:]


def test_a_split_without_clips_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no clip to train on; --stream.policy clips needs items of domain video"):
        order_of(FakeShards([("goods", [[0]])]), SETTINGS, seed=1)
