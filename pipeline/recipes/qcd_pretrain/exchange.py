"""Rows of the global batch by their numbers, from whatever ranks hold them.

Legend: R ranks, B rows a rank, P rows wanted.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from launch.distributed import gather_rows, rank, world_size


class Exchange:
    """Fetches the rows `places` of the global batch, as many bytes as they have: gathering all rows of all ranks would take R times as much.

    Row r of the global batch is row r mod B of rank r // B, as `gather_rows` has it. The backward pass takes every row's gradient to the rank
    that holds it, where those of several takers add up, so that with DDP's mean over ranks the gradient is that of one process on the whole
    batch. All ranks make it and call it together.

    Args:
        places: [P] int64, the rows that this rank wants; every rank wants as many.
        rows: B.
    """

    def __init__(self, places: Tensor, rows: int) -> None:
        self._places, self._rows = places, rows
        if world_size() == 1:
            return
        wanted = gather_rows(places).view(world_size(), -1)
        holder = wanted // rows
        mine = holder == rank()
        self._sent = (wanted % rows)[mine]  # row by row of `mine`: in the order of those who want them
        self._send_counts = mine.sum(dim=1).tolist()
        self._order = holder[rank()].argsort(stable=True)  # rows arrive in the order of those who hold them
        self._receive_counts = holder[rank()].bincount(minlength=world_size()).tolist()

    def __call__(self, rows: Tensor) -> Tensor:
        """rows [B, ...] of this rank -> [P, ...]."""
        if world_size() == 1:
            return rows[self._places]
        return _Fetch.apply(rows, self) if rows.requires_grad else self.fetch(rows)

    def fetch(self, rows: Tensor) -> Tensor:
        """[B, ...] -> [P, ...], without a gradient."""
        arrived = rows.new_empty(len(self._places), *rows.shape[1:])
        dist.all_to_all_single(arrived, rows[self._sent], self._receive_counts, self._send_counts)
        return torch.empty_like(arrived).index_copy_(0, self._order, arrived)

    def give_back(self, gradient: Tensor) -> Tensor:
        """[P, ...] -> [B, ...]: what all ranks say of this rank's rows, added up."""
        arrived = gradient.new_empty(len(self._sent), *gradient.shape[1:])
        dist.all_to_all_single(arrived, gradient[self._order], self._send_counts, self._receive_counts)
        return gradient.new_zeros(self._rows, *gradient.shape[1:]).index_add_(0, self._sent, arrived)


class _Fetch(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, exchange: Exchange) -> Tensor:  # type: ignore[override]
        ctx.exchange = exchange
        return exchange.fetch(rows)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return ctx.exchange.give_back(gradient), None
