"""Which shards will soon be read, told while batches go by, so that those from elsewhere can be fetched before they are needed.

Legend: G documents in a global batch.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence

from pipeline.order.order import Draw

MOST_DRAWS = 1 << 16
"""Draws that are looked ahead at most: some 10 MB."""


def looking_ahead(
    batches: Iterable[tuple[int, list[Draw]]], shard_bytes: Sequence[int], room: float
) -> Iterator[tuple[int, list[Draw], tuple[int, ...]]]:
    """(epoch, batch, shards) for each (epoch, batch) of `batches`: the numbers of the shards that have come into sight since the batch before, in
    the order in which they will be read.

    In sight are the shards of the batch and of those after it, as long as they fill no more than `room`, one batch beyond that, and at most
    MOST_DRAWS draws. So every shard is named before or with the batch that reads it, and what is named and not yet done with takes no
    more than `room` and the shards of a batch.

    Args:
        shard_bytes: of each shard, by its number.
        room: bytes.
    """
    coming: deque[tuple[int, list[Draw]]] = deque()
    batches_left, users = iter(batches), Counter[int]()
    in_sight, draws_in_sight, ended = 0, 0, False
    while True:
        named: list[int] = []
        while not ended and (not coming or (in_sight <= room and draws_in_sight < MOST_DRAWS)):
            if (batch := next(batches_left, None)) is None:
                ended = True
                break
            coming.append(batch)
            draws_in_sight += len(batch[1])
            for shard in _shards_of(batch[1]):
                if not users[shard]:
                    named.append(shard)
                    in_sight += shard_bytes[shard]
                users[shard] += 1
        if not coming:
            return
        epoch, draws = coming.popleft()
        draws_in_sight -= len(draws)
        for shard in _shards_of(draws):
            users[shard] -= 1
            if not users[shard]:
                in_sight -= shard_bytes[shard]
        yield epoch, draws, tuple(named)


def _shards_of(draws: list[Draw]) -> dict[int, None]:
    return dict.fromkeys(draw.shard for draw in draws)
