"""Batches of hard negatives: one cluster and one domain each, every query once an epoch, resumable like the other orders."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from pathlib import Path

import pytest

from pipeline.order import ClusterOrder, Draw, PublishedOrder, order_of
from pipeline.pack import pack
from pipeline.recipe import Stream
from pipeline.shards import ShardSet
from tests.pipeline.corpora import write_catalog
from tests.pipeline.fake_shards import FakeShards


def settings(batch_size: int, level: int = 0) -> Stream:
    return Stream(batch_size=batch_size, policy="cluster", cluster_level=level)


def corpus() -> FakeShards:
    """90 queries of paths of two levels, 3 clusters of 30 queries, each of 3 clusters of 10; goods of all, clips of the even ones."""
    clusters = [(query // 10 % 3, query // 30) for query in range(90)]
    return FakeShards([("goods", [[query] for query in range(90)] * 2), ("video", [[query] for query in range(0, 90, 2)])], clusters)


def flat(order: PublishedOrder, epoch: int, start: int = 0) -> list[list[Draw]]:
    return [list(batch) for batch in order.batches(epoch, start)]


def paths(shards: FakeShards, batch: list[Draw], level: int) -> Counter:
    """How many queries of a batch are of which cluster."""
    return Counter(shards.clusters[draw.query][: level + 1] for draw in batch)


@pytest.mark.parametrize(("level", "size"), [(0, 8), (1, 3)])
def test_batches_are_of_one_cluster_and_one_domain_but_those_of_the_leftovers(level, size):
    shards = corpus()
    order, published = ClusterOrder(shards, settings(size, level), seed=0), PublishedOrder(shards, settings(1), seed=0)

    for epoch in range(5):
        batches = flat(order, epoch)
        domains = [{shards.shards[draw.shard].domain for draw in batch} for batch in batches]
        drawn = Counter((shards.shards[draw.shard].domain, shards.clusters[draw.query][: level + 1]) for (draw,) in flat(published, epoch))
        for domain in ("goods", "video"):
            own = [len(paths(shards, batch, level)) for batch, found in zip(batches, domains) if found == {domain}]
            counts = [count for (side, _), count in drawn.items() if side == domain]
            assert len(own) == -(-sum(counts) // size)
            assert own.count(1) >= sum(count // size for count in counts) > 0
        assert all(len(found) == 1 for found in domains)


@pytest.mark.parametrize("size", [1, 7, 8])
def test_an_epoch_is_every_query_once_with_the_documents_of_the_published_order(size):
    shards = corpus()
    clustered, published = ClusterOrder(shards, settings(size), seed=4), PublishedOrder(shards, settings(1), seed=4)

    for epoch in range(3):
        drawn = Counter(draw for batch in flat(clustered, epoch) for draw in batch)
        expected = {batch[0] for batch in flat(published, epoch)}
        assert {draw.query for draw in drawn} == set(range(90))
        assert expected <= set(drawn)
        assert sum(drawn.values()) - len(expected) < 2 * size  # the last batch of each side is filled up


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        # full batches, then 1 of (1,), 1 of (2,), 1 of (3,), and the 4 without a cluster
        (0, [{(2,): 4}, {(2,): 4}, {(1,): 4}, {(1,): 1, (2,): 1, (3,): 1, (): 1}, {(): 3}]),
        # full batches, then 1 of (1, 9), 2 of (2, 5), 3 of its sibling (2, 7), 1 of (3,), which has no second level, and the 4 without a cluster
        (1, [{(2, 5): 4}, {(1, 9): 4}, {(1, 9): 1, (2, 5): 2, (2, 7): 1}, {(2, 7): 2, (3,): 1, (): 1}, {(): 3}]),
    ],
)
def test_what_is_left_over_of_the_clusters_comes_together_beside_its_siblings(level, expected):
    clusters = [*[(2, 5)] * 6, *[(2, 7)] * 3, *[(1, 9)] * 5, (3,), *[()] * 4]
    shards = FakeShards([("goods", [[query] for query in range(19)])], clusters)

    for seed in range(4):
        batches = flat(ClusterOrder(shards, settings(4, level), seed), 0)

        drawn = Counter(draw.query for batch in batches for draw in batch)
        (twice,) = [query for query, count in drawn.items() if count == 2]  # fills up the last batch: 19 queries, 20 places
        filled = next(n for n, batch in enumerate(batches) if paths(shards, batch, level)[()] >= 3)
        assert twice in [draw.query for draw in batches[filled]]
        found = [paths(shards, batch, level) for batch in batches]
        found[filled][shards.clusters[twice][: level + 1]] -= 1
        assert sorted(sorted((+counts).items()) for counts in found) == sorted(sorted(counts.items()) for counts in expected)


def test_the_batches_of_an_epoch_are_shuffled():
    shards = FakeShards([("goods", [[query] for query in range(12)])], [*[(0,)] * 4, *[(1,)] * 4, *[()] * 4])
    order = ClusterOrder(shards, settings(4), seed=0)

    orders = {tuple(next(iter(paths(shards, batch, 0))) for batch in flat(order, epoch)) for epoch in range(40)}

    assert len(orders) == 6  # all orders of three batches, those without a cluster among them


def test_a_level_beyond_the_queries_own_is_their_finest():
    assert flat(ClusterOrder(corpus(), settings(3, level=7), seed=0), 0) == flat(ClusterOrder(corpus(), settings(3, level=1), seed=0), 0)


def test_starting_at_a_batch_gives_what_would_have_come_there_in_every_epoch():
    order = ClusterOrder(corpus(), settings(8), seed=3)

    for epoch in range(3):
        whole = flat(order, epoch)
        assert all(flat(order, epoch, start) == whole[start:] for start in range(len(whole) + 1))


def test_every_batch_of_every_epoch_is_full_and_counted():
    order = ClusterOrder(corpus(), settings(7), seed=0)

    for epoch in range(10):
        batches = flat(order, epoch)
        assert len(batches) == order.batches_in(epoch)
        assert {len(batch) for batch in batches} == {7}


def test_a_batch_larger_than_a_side_is_filled_up_from_as_many_shuffles_as_it_takes():
    shards = FakeShards([("goods", [[0], [1], [2]])], [(0,), (0,), (1,)])

    (batch,) = flat(ClusterOrder(shards, settings(11), seed=0), 0)

    assert sorted(Counter(draw.query for draw in batch).values()) == [3, 4, 4]


def test_epochs_and_seeds_cut_the_clusters_in_other_ways():
    def sets(seed: int, epoch: int) -> set[frozenset[int]]:
        return {frozenset(draw.query for draw in batch) for batch in flat(ClusterOrder(corpus(), settings(8), seed), epoch)}

    assert sets(0, 0) == sets(0, 0)
    assert not sets(0, 0) & sets(0, 1)
    assert not sets(0, 0) & sets(1, 0)


def test_packed_queries_bring_their_clusters(tmp_path):
    records = [
        {"id": f"g{n}", "domain": "goods", "title": f"good {n}", "queries": [{"words": f"query {n}", "cluster": [n % 2, n % 4]}]} for n in range(24)
    ]
    shards = ShardSet(pack(write_catalog(tmp_path / "corpus", records), tmp_path / "shards", workers=1)["train"])

    batches = flat(order_of(shards, settings(6, level=1), seed=0), 0)

    titles = [[int(shards.shard(draw.shard).sample(draw.row).words()["title"].split()[1]) for draw in batch] for batch in batches]
    assert sorted(sorted(batch) for batch in titles) == [[first + 4 * n for n in range(6)] for first in range(4)]


def test_a_corpus_without_clusters_is_an_error_that_says_where_they_come_from():
    shards = FakeShards([("goods", [[0], [1]])], [(), ()], folder=Path("packed/train"))

    with pytest.raises(ValueError, match=r"packed/train: none of its 2 queries has a cluster.*train_file/cluster.txt.*`cluster` in a catalogue"):
        ClusterOrder(shards, settings(2), seed=0)


def test_mixed_batches_and_levels_below_the_coarsest_are_refused():
    with pytest.raises(ValueError, match=r"--stream.policy cluster.*--stream.domains is mixed"):
        ClusterOrder(corpus(), Stream(policy="cluster", domains="mixed"), seed=0)
    with pytest.raises(ValueError, match=r"--stream.cluster_level -1"):
        ClusterOrder(corpus(), settings(8, level=-1), seed=0)


def test_an_order_holds_a_few_numbers_a_query_and_no_object():
    count = 50_000
    shards = FakeShards([("goods", [[query] for query in range(count)])], [(query % 40, query % 400) for query in range(count)])
    tracemalloc.start()

    order = ClusterOrder(shards, settings(64, level=1), seed=0)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert held < 64 * count  # entry 16, offset 8, place 8, side 1, cluster 4 bytes; a tuple alone takes 56
    assert isinstance(order, ClusterOrder)
