"""The sampler: every document once, the same batches whatever the ranks, resumable at any batch."""

from __future__ import annotations

from collections import Counter

import pytest

from pipeline.order import DocumentOrder, PublishedOrder, order_of
from pipeline.recipe import Stream
from pipeline.stream import Slice
from tests.pipeline.fake_shards import FakeShards

POLICIES = ["document", "published", "cluster"]


def corpus() -> FakeShards:
    """7 goods in two shards, 10 clips in three; every document has one query, of two clusters."""
    contents = [("goods", [[0]] * 4), ("goods", [[1]] * 3), ("video", [[0]] * 4), ("video", [[1]] * 4), ("video", [[2]] * 2)]
    return FakeShards(contents, clusters=[(0,), (0,), (1,)])


def flat(order, epoch: int, start: int = 0) -> list:
    return [list(batch) for batch in order.batches(epoch, start)]


def test_an_epoch_holds_every_document_and_fills_the_tail_of_each_domain_from_its_next_shuffle():
    order = DocumentOrder(corpus(), Stream(batch_size=4, window_shards=2), seed=0)

    batches = flat(order, epoch=0)
    drawn = Counter((draw.shard, draw.row) for batch in batches for draw in batch)

    assert len(batches) == order.batches_in(0) == 2 + 3  # ceil(7 / 4) of goods, ceil(10 / 4) of clips
    assert all(len(batch) == 4 for batch in batches)
    assert len(drawn) == 17
    assert sum(drawn.values()) == 20  # 1 good and 2 clips twice
    assert max(drawn.values()) == 2


def test_a_batch_holds_one_domain_unless_mixed_is_asked_for():
    shards = corpus()

    single = flat(DocumentOrder(shards, Stream(batch_size=4), seed=0), 0)
    mixed = flat(DocumentOrder(shards, Stream(batch_size=4, domains="mixed"), seed=0), 0)

    domains = [{shards.shards[draw.shard].domain for draw in batch} for batch in single]
    assert all(len(found) == 1 for found in domains)
    assert len(mixed) == 5
    assert any(len({shards.shards[draw.shard].domain for draw in batch}) == 2 for batch in mixed)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("start", [0, 1, 3, 4])
def test_starting_at_a_batch_gives_what_would_have_come_there(policy, start):
    order = order_of(corpus(), Stream(batch_size=4, policy=policy), seed=3)

    whole = flat(order, epoch=2)

    assert flat(order, epoch=2, start=start) == whole[start:]


@pytest.mark.parametrize("policy", POLICIES)
def test_seed_and_epoch_alone_decide(policy):
    settings = Stream(batch_size=4, policy=policy)

    assert flat(order_of(corpus(), settings, 1), 0) == flat(order_of(corpus(), settings, 1), 0)
    assert flat(order_of(corpus(), settings, 1), 0) != flat(order_of(corpus(), settings, 1), 1)
    assert flat(order_of(corpus(), settings, 1), 0) != flat(order_of(corpus(), settings, 2), 0)


def test_the_ranks_slices_put_together_are_the_batch():
    batch = next(DocumentOrder(corpus(), Stream(batch_size=6), seed=0).batches(0))

    assert [draw for rank in range(3) for draw in Slice(rank, 3).of(batch)] == batch
    assert [len(Slice(rank, 2).of(batch)) for rank in range(2)] == [3, 3]


def test_skipping_far_into_an_epoch_opens_only_the_window_it_lands_in():
    shards = FakeShards([("goods", [[0], []]) for _ in range(1000)])
    order = DocumentOrder(shards, Stream(batch_size=10, window_shards=5), seed=0)

    next(order.batches(0, start=99))

    assert sum(shards.opened.values()) <= 10


def test_documents_without_a_query_are_never_drawn():
    shards = FakeShards([("goods", [[0], [], [1], []]), ("video", [[], []])])

    drawn = {(draw.shard, draw.row) for batch in flat(DocumentOrder(shards, Stream(batch_size=2), seed=0), 0) for draw in batch}

    assert drawn == {(0, 0), (0, 2)}


@pytest.mark.parametrize("policy", POLICIES)
def test_queries_that_are_items_of_their_own_are_never_drawn(policy):
    shards = FakeShards([("query", [[0], [1]]), ("goods", [[0], [1]]), ("query", [[], []])], clusters=[(0,), (0,)])

    drawn = {draw.shard for batch in flat(order_of(shards, Stream(batch_size=2, policy=policy), seed=0), 0) for draw in batch}

    assert drawn == {1}


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("contents", [[("goods", [[], []])], [("goods", [[]]), ("query", [[0]])]])
def test_a_corpus_whose_documents_have_no_queries_is_an_error_that_says_so(policy, contents):
    with pytest.raises(ValueError, match="shards/train: no document has a query"):
        order_of(FakeShards(contents, clusters=[(0,)]), Stream(policy=policy), seed=0)


def test_published_draws_live_streams_beside_goods_and_clips():
    shards = FakeShards([("goods", [[q] for q in range(30)]), ("live", [[q] for q in range(30)]), ("video", [[q] for q in range(30)])])
    order = PublishedOrder(shards, Stream(batch_size=1, policy="published"), seed=0)

    sides = Counter(shards.shards[batch[0].shard].domain for epoch in range(40) for batch in flat(order, epoch))

    assert all(0.28 < sides[domain] / (30 * 40) < 0.39 for domain in ("goods", "live", "video"))


def test_published_an_epoch_is_every_query_once_on_a_side_drawn_evenly():
    # Queries 0..39 have three goods and one clip each, 40..49 one good only.
    shards = FakeShards([("goods", [[q] for q in range(50)] + [[q] for q in range(40)] * 2), ("video", [[q] for q in range(40)])])
    order = PublishedOrder(shards, Stream(batch_size=1, policy="published"), seed=0)

    sides = Counter()
    for epoch in range(50):
        batches = flat(order, epoch)
        assert sorted(batch[0].query for batch in batches) == list(range(50))
        sides.update(shards.shards[batch[0].shard].domain for batch in batches if batch[0].query < 40)
        assert all(shards.contents[batch[0].shard][1][batch[0].row] == [batch[0].query] for batch in batches)

    assert 0.45 < sides["video"] / (40 * 50) < 0.55


def test_published_all_documents_of_a_query_are_drawn_alike():
    shards = FakeShards([("goods", [[0]] * 4)])
    order = PublishedOrder(shards, Stream(batch_size=1, policy="published"), seed=0)

    rows = Counter(flat(order, epoch)[0][0].row for epoch in range(400))

    assert set(rows) == {0, 1, 2, 3}
    assert min(rows.values()) > 60
