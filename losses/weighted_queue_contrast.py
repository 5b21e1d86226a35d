"""InfoNCE of a query against its positive and the queues of all categories, the logits of each category weighted.

Legend: B queries of this rank, C categories, K slots of a queue, D features, n slots of one tile.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class SameItem(NamedTuple):
    """Which slots come from the same item as a query, and are no negatives of it; only the queue of a query's own category is looked at."""

    category: Tensor
    """[B] int64 of each query"""
    item: Tensor
    """[B] int64, the number of each query's item"""
    items: Tensor
    """[C, K] int64, the number of each slot's item, -1 where it has none"""


class Negatives(NamedTuple):
    """The queues, and what each of them says to each query. No gradient flows to any of it."""

    rows: Tensor
    """[C, K, D]"""
    slots: Tensor
    """[C] int64: the first so many rows of each queue are filled, the others are no negatives"""
    weights: Tensor
    """[B, C], times the logits"""
    same: SameItem | None = None


class WeightedQueueContrast(nn.Module):
    """Cross-entropy of the positive among it and all slots of all queues.

        loss = sum_i b_i ( log( exp(p_i) + sum_c sum_k exp(S_ick) ) - p_i ),   S_ick = w_ic q_i . r_ck / temperature,   p_i = q_i . t_i / temperature

    with q queries, t positives, r queue rows, w weights of categories, and b_i = 1/B unless given. One direction.

    The logits never exist whole. Queue by queue they are multiplied out in a tile, turned into exponentials in place while the tile is in the
    cache, and multiplied with the queue again, which is all that the gradient needs:

        dloss / dq_i = b_i / temperature ( sum_ck softmax_ick w_ic r_ck - (1 - softmax_i,positive) t_i )

    So the forward leaves the loss and the query's gradient, from two products of B x CK x D, and the way back is a multiplication. Sums are kept
    under the largest logit so far (as in FlashAttention, Dao et al. 2022), so any temperature will do. Under autocast the products run in its
    type, all else in float32.

    Source: the formula MQMC, as published and released (temperature .07); the way it is computed is ours.

    Args:
        temperature: divides the products; unitless, > 0.
        tile: n, slots multiplied out at a time.
    """

    def __init__(self, temperature: float = 0.07, *, tile: int = 2048) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"temperature {temperature}: it divides similarities and must be above 0")
        if tile < 1:
            raise ValueError(f"tile {tile}: it counts the slots that are compared at a time and must be 1 or more")
        self.temperature = temperature
        self.tile = tile

    def forward(self, query: Tensor, positive: Tensor, negatives: Negatives, *, weight: Tensor | None = None) -> Tensor:
        """The loss, a scalar: float32, float64 only where the queries are.

        Args:
            query: [B, D], of length 1 where cosines are meant; it alone gets a gradient.
            positive: [B, D], each query's own key.
            weight: b [B], how much each query counts; 1 / B each where it is left out.
        """
        kind = query.device.type
        multiplied_in = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        with torch.autocast(kind, enabled=False):
            query = query.to(torch.promote_types(query.dtype, torch.float32))
            weight = query.new_full((len(query),), 1 / len(query)) if weight is None else weight.to(query.dtype)
            return _Contrast.apply(query, positive.to(query.dtype), negatives, weight, self.temperature, self.tile, multiplied_in or query.dtype)


def weighted_logits(query: Tensor, positive: Tensor, negatives: Negatives, temperature: float) -> Tensor:
    """The logits as one matrix [B, 1 + C K]: the positive, then queue after queue (column 1 + category * K + slot), -inf for what is no negative."""
    size = negatives.rows.shape[1]
    products = query @ negatives.rows.flatten(0, 1).T * negatives.weights.repeat_interleave(size, dim=1)
    none = (torch.arange(size, device=query.device) >= negatives.slots[:, None]).flatten().expand(len(query), -1)
    if negatives.same is not None:
        category, item, items = negatives.same
        own = category[:, None] == torch.arange(len(items), device=query.device).repeat_interleave(size)
        none = none | (own & (item[:, None] == items.flatten()))
    own_product = (query * positive).sum(dim=1, keepdim=True)
    return torch.cat([own_product, products.masked_fill(none, -torch.inf)], dim=1) / temperature


class _Contrast(torch.autograd.Function):
    """The loss; keeps the query's gradient."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, query: Tensor, positive: Tensor, negatives: Negatives, weight: Tensor, temperature: float, tile: int, multiplied_in: torch.dtype
    ) -> Tensor:
        own_b = (query * positive).sum(dim=1) / temperature
        # Both relative to exp(highest): the sum of all exponentials, and of those of negatives times their weighted rows.
        highest_b, total_b, pulled = own_b.clone(), torch.ones_like(own_b), torch.zeros_like(query)
        members = [] if negatives.same is None else _members(negatives.same.category, len(negatives.rows))
        tile = min(tile, negatives.rows.shape[1])
        # Memory for one tile, used again for each: asking for it anew costs as much time as filling it.
        room, keys_room = (query.new_empty(size * tile, dtype=multiplied_in) for size in query.shape)
        sums_room = room if multiplied_in == query.dtype else query.new_empty(len(query) * tile)
        for category, slots in enumerate(negatives.slots.tolist()):
            scale_b1 = negatives.weights[:, category, None].to(query.dtype) / temperature
            scaled = (query * scale_b1).to(multiplied_in)
            for first in range(0, slots, tile):
                columns = slice(first, min(first + tile, slots))
                rows = _in_type_of(keys_room, negatives.rows[category, columns])
                products_bn = torch.mm(scaled, rows.T, out=room[: len(query) * len(rows)].view(len(query), len(rows)))
                logits_bn = _in_type_of(sums_room, products_bn)
                if negatives.same is not None:
                    _leave_out(logits_bn, members[category], category, columns, negatives.same)
                former_b, highest_b = highest_b, torch.maximum(highest_b, logits_bn.amax(dim=1))
                shrink_b = (former_b - highest_b).exp_()
                powers_bn = logits_bn.sub_(highest_b[:, None]).exp_()
                total_b = total_b * shrink_b + powers_bn.sum(dim=1)
                pulled.mul_(shrink_b[:, None]).addcmul_(torch.mm(_in_type_of(room, powers_bn), rows).to(query.dtype), scale_b1)
        own_share_b = (own_b - highest_b).exp() / total_b
        slope = pulled.div_(total_b[:, None]).addcmul_(positive, (own_share_b - 1)[:, None] / temperature).mul_(weight[:, None])
        ctx.save_for_backward(slope)
        return (weight * (highest_b + total_b.log() - own_b)).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        (slope,) = ctx.saved_tensors
        return slope * gradient, None, None, None, None, None, None


def _in_type_of(room: Tensor, values: Tensor) -> Tensor:
    """`values` themselves where they are of the type of `room`, else a copy in its memory."""
    return values if values.dtype == room.dtype else room[: values.numel()].view_as(values).copy_(values)


def _members(category: Tensor, categories: int) -> list[Tensor]:
    """For each category the queries that are of it."""
    counts = category.bincount(minlength=categories).tolist()
    return list(category.argsort(stable=True).split(counts))


def _leave_out(logits_bn: Tensor, members: Tensor, category: int, columns: slice, same: SameItem) -> None:
    """Make -inf, in place, of slots that come from a query's own item."""
    if len(members):
        shared = same.item[members][:, None] == same.items[category, columns]
        logits_bn.index_copy_(0, members, logits_bn[members].masked_fill_(shared, -torch.inf))
