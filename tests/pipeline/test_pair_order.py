"""Pairs of a clip and a good that share a query: every clip once an epoch, resumable at any batch, cut evenly among ranks."""

from __future__ import annotations

from collections import Counter

import pytest

from pipeline.order import Draw, Order, order_of
from pipeline.recipe import Stream
from pipeline.stream import Slice
from tests.pipeline.fake_shards import FakeShards


def corpus() -> FakeShards:
    """Five clips in two shards; the last has no good, one has two queries, and query 0 has two goods."""
    return FakeShards([("goods", [[0], [0, 1], [2]]), ("video", [[0], [1, 2], [2]]), ("video", [[1], [7]])])


def pairs_of(order: Order, epoch: int, start: int = 0) -> list[list[tuple[Draw, Draw]]]:
    return [list(zip(batch[::2], batch[1::2])) for batch in order.batches(epoch, start)]


def order(size: int, seed: int = 0) -> Order:
    return order_of(corpus(), Stream(batch_size=size, policy="pairs"), seed)


def test_every_clip_that_has_a_good_comes_once_an_epoch_with_one_that_shares_the_drawn_query():
    shards, goods_seen = corpus(), Counter()

    for epoch in range(30):
        pairs = [pair for batch in pairs_of(order(2), epoch) for pair in batch]
        assert sorted((clip.shard, clip.row) for clip, _ in pairs) == [(1, 0), (1, 1), (1, 2), (2, 0)]
        for clip, good in pairs:
            assert clip.query == good.query and good.shard == 0
            assert clip.query in shards.contents[clip.shard][1][clip.row] and good.query in shards.contents[0][1][good.row]
        goods_seen.update((clip.shard, clip.row, good.row) for clip, good in pairs)

    assert set(goods_seen) == {(1, 0, 0), (1, 0, 1), (1, 1, 1), (1, 1, 2), (1, 2, 2), (2, 0, 1)}  # every good that a clip has is drawn


def test_the_last_batch_is_filled_up_from_the_next_shuffle():
    batches = pairs_of(order(3), epoch=0)
    clips = Counter((clip.shard, clip.row) for batch in batches for clip, _ in batch)

    assert [len(batch) for batch in batches] == [3, 3] and order(3).batches_in(0) == 2
    assert len(clips) == 4 and sum(clips.values()) == 6 and max(clips.values()) == 2


@pytest.mark.parametrize("size", [1, 3, 7])
def test_starting_at_a_batch_gives_what_would_have_come_there_and_epochs_differ(size):
    whole = pairs_of(order(size, seed=3), epoch=2)

    for start in range(len(whole) + 1):
        assert pairs_of(order(size, seed=3), epoch=2, start=start) == whole[start:]
    assert any(pairs_of(order(size, seed=3), epoch=epoch) != whole for epoch in (0, 1))


def test_ranks_take_whole_pairs():
    batch = next(iter(order(4).batches(0)))

    parts = [Slice(rank, 2).of(batch) for rank in range(2)]

    assert parts[0] + parts[1] == batch
    assert all(len(part) == 4 and all(clip.query == good.query for clip, good in zip(part[::2], part[1::2])) for part in parts)


@pytest.mark.parametrize("contents", [[("goods", [[0]]), ("video", [[1]])], [("goods", [[0]])], [("video", [[0]])]])
def test_a_corpus_without_pairs_is_named(contents):
    with pytest.raises(ValueError, match=r"shards/train: no clip shares a query with a good, so there are no pairs to train on"):
        order_of(FakeShards(contents), Stream(policy="pairs"), 0)
