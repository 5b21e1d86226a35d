"""The sampler: which documents, in which order, make up the batches of an epoch.

An order is a function of (shard set, settings, seed, epoch) alone. It knows no ranks and no workers: rank r of R takes its slice of
every batch, so a run that stops goes on from two numbers (epoch, batch), with any ranks x workers, without loss or repetition.
"""

from __future__ import annotations

from collections.abc import Callable

from pipeline.order.captions import CaptionOrder
from pipeline.order.clips import ClipOrder
from pipeline.order.cluster import ClusterOrder
from pipeline.order.document import DocumentOrder
from pipeline.order.links import LinkOrder
from pipeline.order.mixture import MixtureOrder
from pipeline.order.order import OWN_QUERY, Draw, Order
from pipeline.order.pairs import PairOrder
from pipeline.order.published import PublishedOrder
from pipeline.recipe import Stream
from pipeline.shards import ShardSet
from pipeline.shards.mixture import Mixture

__all__ = [
    "OWN_QUERY",
    "CaptionOrder",
    "ClipOrder",
    "ClusterOrder",
    "DocumentOrder",
    "Draw",
    "LinkOrder",
    "MixtureOrder",
    "Order",
    "PairOrder",
    "PublishedOrder",
    "order_of",
]


def order_of(shards: ShardSet, settings: Stream, seed: int) -> Order:
    """The order that `settings.policy` names; of a mixture, that of each part, in turn by weight."""
    if isinstance(shards, Mixture):
        return MixtureOrder(shards, [order_of(part, settings, seed) for part in shards.parts])
    orders: dict[str, Callable[[ShardSet, Stream, int], Order]] = {
        "document": DocumentOrder,
        "links": LinkOrder,
        "published": PublishedOrder,
        "cluster": ClusterOrder,
        "pairs": PairOrder,
        "clips": ClipOrder,
        "captions": CaptionOrder,
    }
    return orders[settings.policy](shards, settings, seed)
