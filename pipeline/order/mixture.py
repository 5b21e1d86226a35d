"""Batches of several corpora in turn, by weight."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipeline.order.dealing import Dealing
from pipeline.order.order import OWN_QUERY, Draw, Order
from pipeline.shards import ShardSet
from pipeline.shards.mixture import Mixture


class MixtureOrder(Order):
    """Every batch is of one corpus, in the order that this corpus has by itself; whose turn it is, `Dealing` says.

    Batches are counted over the whole run, from its first on: after any n of them each corpus has had n times its weight, to less than one batch.
    Batch j of a corpus is batch b of its own epoch e (its pass), however the run's epochs fall: a corpus that runs out begins its next
    pass, in a fresh order, and nothing of it comes again before all of it came once (but for what fills up last batches, as its own
    order says). Where each corpus keeps a batch to one domain, so does the mixture.

    An epoch has as many batches as the first passes of all corpora together. A corpus of weight w that has the share s of these batches is seen
    w / s times in it.

    A position is still (epoch, batch): how often each corpus had its turn follows from their number, so a run goes on from it with any ranks and
    workers.

    Args:
        orders: of the mixture's parts, all of one batch size.
    """

    def __init__(self, mixture: Mixture, orders: Sequence[Order]) -> None:
        self._orders, self._dealing = tuple(orders), Dealing(mixture.weights)
        self._parts, self._first_shards = mixture.parts, mixture.first_shards
        self._batches = sum(order.batches_in(0) for order in orders)

    def batches_in(self, epoch: int) -> int:
        """As many as the corpora have together in their first passes; the same for every epoch."""
        return self._batches

    def passes(self, epoch: int, start: int = 0) -> Iterator[tuple[int, list[Draw]]]:
        """The batches, each with the pass of its corpus: what comes again within an epoch is augmented anew."""
        turns = range(epoch * self._batches + start, (epoch + 1) * self._batches)
        streams = [self._own(part, done) for part, done in enumerate(self._dealing.counts(turns.start))]
        return (next(streams[self._dealing.turn(number)]) for number in turns)

    def batches(self, epoch: int, start: int = 0) -> Iterator[list[Draw]]:
        """Batches `start`, `start` + 1, ... of `epoch`."""
        return (draws for _, draws in self.passes(epoch, start))

    def bytes_at_once(self, shards: ShardSet) -> int:
        """Of all corpora together: they take turns."""
        return sum(order.bytes_at_once(part) for order, part in zip(self._orders, self._parts))

    def _own(self, part: int, done: int) -> Iterator[tuple[int, list[Draw]]]:
        """(pass, batch) of one corpus from its batch number `done` on."""
        order, shard, query = self._orders[part], self._first_shards[part], self._parts[part].first_query
        number = 0
        while done >= (batches := order.batches_in(number)):
            number, done = number + 1, done - batches
        while True:
            for draws in order.batches(number, done):
                yield number, [Draw(draw.shard + shard, draw.row, draw.query if draw.query == OWN_QUERY else draw.query + query) for draw in draws]
            number, done = number + 1, 0
