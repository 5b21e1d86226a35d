"""Momentum keys of past batches, one queue a category and side.

Legend: C categories, K rows of a queue, D features, n new rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize


class CategoryQueues(nn.Module):
    """For every side and category the last K rows, each with the number of the item it came from; rings in buffers.

    The buffer of a side has its name. Row i of all sides in a category came from one pair, so they share one pointer and one item number.
    Every rank must hold the same: give `enqueue` the rows of all ranks, gathered, and give them after the backward pass, since rows are
    overwritten in place.

    Source: MQMC as released: C = 30, K = 2048, D = 512, two sides. There a queue begins as random unit vectors, which are negatives and parts
    of centroids until they are overwritten (`random`); ours begins empty.

    Args:
        sides: names of the sides, e.g. video and goods.
        categories: C.
        size: K; 4 C K D bytes a side.
        dim: D.
        random: begin full of random unit vectors, the same on all sides.
    """

    items: Tensor
    """[C, K] int64, -1 where a row came from no item"""
    pointer: Tensor
    """[C] int64, the row of each category that is overwritten next"""
    filled: Tensor
    """[C] int64, how many rows of each category are filled: its first ones"""

    def __init__(self, sides: Sequence[str], categories: int, size: int, dim: int, *, random: bool = False) -> None:
        super().__init__()
        if size < 1:
            raise ValueError(f"queues of {size} rows hold nothing; give --system.queue_size 1 or more")
        self.sides = tuple(sides)
        begin = normalize(torch.randn(categories, size, dim), dim=-1) if random else torch.zeros(categories, size, dim)
        for side in sides:
            self.register_buffer(side, begin.clone())
        self.register_buffer("items", torch.full((categories, size), -1))
        self.register_buffer("pointer", torch.zeros(categories, dtype=torch.long))
        self.register_buffer("filled", torch.full((categories,), size if random else 0))

    @torch.no_grad()
    def enqueue(self, rows: Mapping[str, Tensor], category: Tensor, items: Tensor) -> None:
        """Put rows in as a loop over them would, the oldest of each category go.

        Args:
            rows: [n, D] of each side, later ones newer.
            category: [n] int64, whose queues they go into.
            items: [n] int64, numbers of the items they came from, or -1.
        """
        categories, size = self.items.shape
        counts = category.bincount(minlength=categories)
        order = category.argsort(stable=True)
        # The how-manieth of its category each row is.
        turn = torch.empty_like(order)
        turn[order] = torch.arange(len(order), device=order.device) - (counts.cumsum(0) - counts)[category[order]]
        places = category * size + (self.pointer[category] + turn) % size
        kept: Tensor | slice = slice(None)
        if len(category) > size:  # of more than K of one category the last K stay: no place is written twice
            kept = turn >= counts[category] - size
        for side in self.sides:
            self.get_buffer(side).flatten(0, 1).index_copy_(0, places[kept], rows[side][kept].float())
        self.items.view(-1).index_copy_(0, places[kept], items[kept])
        self.pointer.add_(counts).remainder_(size)
        self.filled.add_(counts).clamp_(max=size)

    @torch.no_grad()
    def centroids(self, side: str) -> Tensor:
        """[C, D], the mean of each category's filled rows; zeros where it has none."""
        # Rows that are not filled are zeros.
        return self.get_buffer(side).sum(dim=1) / self.filled.clamp(min=1)[:, None]
