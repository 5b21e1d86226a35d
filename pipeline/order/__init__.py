"""The sampler: which documents, in which order, make up the batches of an epoch.

An order is a function of (shard set, settings, seed, epoch) alone. It knows no ranks and no workers: rank r of R takes its slice of
every batch, so a run that stops goes on from two numbers (epoch, batch), with any ranks x workers, without loss or repetition.
"""

from __future__ import annotations

from collections.abc import Callable

from pipeline.order.clips import ClipOrder
from pipeline.order.cluster import ClusterOrder
from pipeline.order.document import DocumentOrder
from pipeline.order.order import OWN_QUERY, Draw, Order
from pipeline.order.pairs import PairOrder
from pipeline.order.published import PublishedOrder
from pipeline.recipe import Stream
from pipeline.shards import ShardSet

__all__ = ["OWN_QUERY", "ClipOrder", "ClusterOrder", "DocumentOrder", "Draw", "Order", "PairOrder", "PublishedOrder", "order_of"]


def order_of(shards: ShardSet, settings: Stream, seed: int) -> Order:
    """The order that `settings.policy` names."""
    orders: dict[str, Callable[[ShardSet, Stream, int], Order]] = {
        "document": DocumentOrder,
        "published": PublishedOrder,
        "cluster": ClusterOrder,
        "pairs": PairOrder,
        "clips": ClipOrder,
    }
    return orders[settings.policy](shards, settings, seed)
