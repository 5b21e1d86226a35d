"""Any shards, ranks and batch: every rank takes the same steps, every document comes, and what fills the last batch is less than a batch."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest

from pipeline.order import order_of
from pipeline.recipe import Stream
from pipeline.stream import Slice
from tests.pipeline.fake_shards import FakeShards

SHARDS: dict[str, list[tuple[str, int]]] = {
    "one document a side": [("goods", 1), ("video", 1)],
    "one shard a side": [("goods", 7), ("video", 10)],
    "an empty shard on each side": [("goods", 0), ("goods", 5), ("video", 9), ("video", 0), ("video", 2)],
    "many small ones": [("goods", 1)] * 9 + [("video", size) for size in (1, 4, 2, 1, 1, 3)],
    "far more of one side": [("goods", 2), ("video", 31), ("video", 32)],
}
POLICIES = ["document", "published", "cluster", "pairs", "clips"]
RANKS = (1, 2, 3, 4, 6)


def shards_of(sizes: list[tuple[str, int]]) -> FakeShards:
    """Shards of such sizes: document n of its side has query n mod 4, so that every query has documents wherever there are as many."""
    numbers = {"goods": itertools.count(), "video": itertools.count()}
    contents = [(domain, [[next(numbers[domain]) % 4] for _ in range(size)]) for domain, size in sizes]
    return FakeShards(contents, clusters=[(0,), (0,), (1,), (1,)])


@pytest.mark.parametrize("sizes", SHARDS.values(), ids=SHARDS)
@pytest.mark.parametrize("policy", POLICIES)
def test_every_rank_takes_the_same_steps_whatever_the_shards(policy, sizes):
    shards = shards_of(sizes)
    for domains, size in itertools.product(["single", "mixed"] if policy == "document" else ["single"], (12, 24)):
        order = order_of(shards, Stream(batch_size=size, policy=policy, domains=domains, window_shards=2), seed=0)
        draws = 2 * size if policy == "pairs" else size
        for epoch in range(2):
            batches = list(order.batches(epoch))
            assert len(batches) == order.batches_in(epoch) > 0
            for ranks in RANKS:
                slices = [[Slice(rank, ranks).of(batch) for rank in range(ranks)] for batch in batches]
                assert {len(part) for parts in slices for part in parts} == {draws // ranks}
                assert [list(itertools.chain(*parts)) for parts in slices] == batches
            for start in range(len(batches) + 1):
                assert list(order.batches(epoch, start)) == batches[start:]


@pytest.mark.parametrize("sizes", SHARDS.values(), ids=SHARDS)
@pytest.mark.parametrize("domains", ["single", "mixed"])
def test_an_epoch_of_documents_holds_each_and_less_than_a_batch_a_side_twice(domains, sizes):
    shards = shards_of(sizes)
    for size in (1, 5, 12):
        drawn = Counter(
            (draw.shard, draw.row) for batch in order_of(shards, Stream(batch_size=size, domains=domains), 0).batches(0) for draw in batch
        )

        assert set(drawn) == {(number, row) for number, (_, length) in enumerate(sizes) for row in range(length)}
        sides = [["goods", "video"]] if domains == "mixed" else [["goods"], ["video"]]
        for side in sides:
            of_side = [times for (shard, _), times in drawn.items() if sizes[shard][0] in side]
            assert 0 <= sum(of_side) - len(of_side) < size
            assert max(of_side) - min(of_side) <= 1


@pytest.mark.parametrize("sizes", SHARDS.values(), ids=SHARDS)
def test_an_epoch_of_clips_holds_each_and_less_than_a_batch_twice(sizes):
    shards, clips = shards_of(sizes), sum(size for domain, size in sizes if domain == "video")
    for size in (1, 5, 12):
        drawn = Counter((draw.shard, draw.row) for batch in order_of(shards, Stream(batch_size=size, policy="clips"), 0).batches(0) for draw in batch)

        assert len(drawn) == clips and 0 <= sum(drawn.values()) - clips < size
