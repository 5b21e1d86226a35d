"""InfoNCE in both directions at once, tile by tile: memory grows with batch x tile, not with the square of the batch.

Legend: B queries of this rank, N candidates of all ranks, D features, n candidates of one tile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

Excluded = Callable[[slice], Tensor]
"""Given columns of candidates, [B, n] bool: the pairs that are no negatives."""


class TiledContrast(nn.Module):
    """Mean of InfoNCE from queries to candidates and from candidates to queries, as two calls of `InfoNCE` give it, in less memory.

        loss = 1/2 sum_i w_i (r_i - S_i,t(i)) + 1/2 sum_i v_t(i) (c_t(i) - S_i,t(i)),   S = q @ k.T / temperature,
        r_i = log sum_j exp(S_ij),   c_j = log sum_i exp(S_ij)

    t(i) is query i's own candidate, w_i the weight of query i, v_j that of candidate j; i runs over this rank's queries, but the sum in c_j
    over those of all ranks. S never exists whole. A tile of it (all queries against n candidates) is multiplied out once for both
    directions, leaves its log-sum-exps r and c, and is multiplied out again on the way back: four products of B x N x D in all, where two
    calls of `InfoNCE` make six and keep S in several copies.

    The way back. With L_1 ... L_R the losses of R ranks, the sum of them all depends on this rank's S through every r_i of its own and
    every c_j, whoever's candidate j is:

        d(L_1 + ... + L_R) / dS_ij = 1/2 ( w_i exp(S_ij - r_i) + v_j exp(S_ij - c_j) - (w_i + v_j) [j = t(i)] ),   0 where i, j is excluded

    So a rank needs the v_j of all ranks, and c_j merged over them, and then its own tile says all that its queries have to say:
    d / dq = dS @ k / temperature is whole, and d / dk = dS.T @ q / temperature becomes so when gathered candidates add up what all ranks
    say. Averaged over ranks as DDP does it, that is the gradient of (L_1 + ... + L_R) / R, which is one process's loss on the whole batch
    where all weights are R times those of one process. Every rank must scale its loss alike before it goes back.

    Source: the formula as in `InfoNCE`; the tiles and the gradient across ranks are ours.

    Args:
        temperature: divides the similarities; unitless, > 0.
        normalise: compare cosines. False takes dot products of the vectors as they come.
        tile: candidates multiplied out at a time; two tiles of [B, tile] numbers are held.
    """

    def __init__(self, temperature: float = 0.05, *, normalise: bool = True, tile: int = 1024) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"temperature {temperature}: it divides similarities and must be above 0")
        if tile < 1:
            raise ValueError(f"tile {tile}: it counts the candidates that are compared at a time and must be 1 or more")
        self.temperature = temperature
        self.normalise = normalise
        self.tile = tile

    def forward(
        self,
        query: Tensor,
        candidates: Tensor,
        target: Tensor,
        *,
        excluded: Excluded | None = None,
        weight: Tensor | None = None,
        candidate_weight: Tensor | None = None,
        merge: Callable[[Tensor], Tensor] = lambda values: values,
    ) -> Tensor:
        """This rank's share of the loss, a scalar: float32 under autocast too, float64 only where an embedding is.

        Args:
            query: [B, D].
            candidates: [N, D], of all ranks in the same order on each (gathered with a true gradient), and any further ones behind them.
            target: [B] int64, the row of `candidates` that is each query's own; no two queries of any rank share one, but where
                `candidate_weight` is left out they may.
            excluded: given a slice of candidates, [B, n] bool, the pairs that are no negatives in either direction; a query's own always
                stays in. Called for each tile, and once more on the way back: it must give the same again, and without a collective.
            weight: [B], how much each query counts; 1 / B each where it is left out. No gradient flows to weights.
            candidate_weight: [N], how much each candidate counts on the way to its own query, 0 where it is nobody's own; that of all ranks,
                the same on each. Left out (one process only), each pair counts in both directions what `weight` says. A candidate that lacks
                what is compared is left out where it is excluded from all queries and weighs 0, as does its own query.
            merge: log-sum-exp over ranks of each rank's [N]; left out in one process.
        """
        with torch.autocast(query.device.type, enabled=False):
            dtype = torch.promote_types(torch.promote_types(query.dtype, candidates.dtype), torch.float32)
            query, candidates = query.to(dtype), candidates.to(dtype)
            if self.normalise:
                query, candidates = F.normalize(query, dim=-1), F.normalize(candidates, dim=-1)
            weight = query.new_full((len(query),), 1 / len(query)) if weight is None else weight.to(dtype)
            if candidate_weight is None:
                back_weight, candidate_weight = weight, weight.new_zeros(len(candidates)).index_add_(0, target, weight)
            else:
                candidate_weight = candidate_weight.to(dtype)
                back_weight = candidate_weight[target]
            weights = _Weights(weight.detach(), back_weight.detach(), candidate_weight.detach())
            return _Contrast.apply(query / self.temperature, candidates, target, weights, excluded, merge, self.tile)


class _Weights(NamedTuple):
    query: Tensor
    """[B] of each query on the way to its own candidate"""
    back: Tensor
    """[B] of each query's own candidate on the way to it"""
    candidate: Tensor
    """[N] of all candidates on the way to their own queries, whichever rank's"""


class _Tile(NamedTuple):
    columns: slice
    logits_bn: Tensor
    own_b1: Tensor
    """the column within the tile of each query's own candidate; any other where it lies outside"""
    is_here_b1: Tensor
    """whether it lies in the tile"""


class _Contrast(torch.autograd.Function):
    """The loss of logits query @ candidates.T; keeps only what it is given and the log-sum-exps."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        query: Tensor,
        candidates: Tensor,
        target: Tensor,
        weights: _Weights,
        excluded: Excluded | None,
        merge: Callable[[Tensor], Tensor],
        tile: int,
    ) -> Tensor:
        rows_b, columns_n = query.new_full((len(query),), -torch.inf), query.new_empty(len(candidates))
        own_b = query.new_zeros(len(query))
        spare = _room(query, candidates, tile)
        for columns, logits_bn, own_b1, is_here_b1 in _tiles(query, candidates, target, excluded, tile):
            own_b = torch.where(is_here_b1, logits_bn.gather(1, own_b1), own_b[:, None])[:, 0]
            rows_b = torch.logaddexp(rows_b, _log_sum_exp(logits_bn, 1, out=_fit(spare, logits_bn)))
            columns_n[columns] = _log_sum_exp(logits_bn, 0, out=logits_bn)
        columns_n = merge(columns_n)
        ctx.save_for_backward(query, candidates, target, rows_b, columns_n)
        ctx.weights, ctx.excluded, ctx.tile = weights, excluded, tile
        return (weights.query @ (rows_b - own_b) + weights.back @ (columns_n[target] - own_b)) / 2

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        query, candidates, target, rows_b, columns_n = ctx.saved_tensors
        weight_b1, weight_n = ctx.weights.query[:, None] / 2, ctx.weights.candidate / 2
        own_weight_b1 = (ctx.weights.query + ctx.weights.back)[:, None] / 2
        # exp(S - c) must come to 0, not to NaN, in a column that is excluded from top to bottom on all ranks.
        columns_n = columns_n.masked_fill(columns_n == -torch.inf, torch.inf)
        wanted_query, wanted_candidates = ctx.needs_input_grad[:2]
        of_query = torch.zeros_like(query) if wanted_query else None
        of_candidates = torch.empty_like(candidates) if wanted_candidates else None
        spare = _room(query, candidates, ctx.tile)
        # No autocast to switch off, wherever the way back is called from: it never touches what is written into given memory.
        for columns, logits_bn, own_b1, is_here_b1 in _tiles(query, candidates, target, ctx.excluded, ctx.tile):
            slope_bn = torch.sub(logits_bn, columns_n[columns], out=_fit(spare, logits_bn)).exp_().mul_(weight_n[columns])
            slope_bn.addcmul_(logits_bn.sub_(rows_b[:, None]).exp_(), weight_b1)
            slope_bn.scatter_(1, own_b1, slope_bn.gather(1, own_b1) - own_weight_b1 * is_here_b1)
            if of_query is not None:
                of_query.addmm_(slope_bn, candidates[columns])
            if of_candidates is not None:
                torch.mm(slope_bn.T, query, out=of_candidates[columns])
        return *(None if found is None else found.mul_(gradient) for found in (of_query, of_candidates)), None, None, None, None, None


def _tiles(query: Tensor, candidates: Tensor, target: Tensor, excluded: Excluded | None, tile: int) -> Iterator[_Tile]:
    """The logits tile by tile, -inf where excluded; each may be overwritten, and is when the next comes."""
    room = _room(query, candidates, tile)
    for first in range(0, len(candidates), tile):
        columns = slice(first, min(first + tile, len(candidates)))
        width = columns.stop - first
        logits_bn = torch.mm(query, candidates[columns].T, out=room[: len(query) * width].view(len(query), width))
        own_b1 = (target - first)[:, None]
        is_here_b1 = (own_b1 >= 0) & (own_b1 < width)
        own_b1 = own_b1.clamp(0, width - 1)
        if excluded is not None:
            kept_b1 = logits_bn.gather(1, own_b1)
            logits_bn.masked_fill_(excluded(columns), -torch.inf)
            logits_bn.scatter_(1, own_b1, torch.where(is_here_b1, kept_b1, logits_bn.gather(1, own_b1)))
        yield _Tile(columns, logits_bn, own_b1, is_here_b1)


def _room(query: Tensor, candidates: Tensor, tile: int) -> Tensor:
    """Memory for one tile, used again for each: asking for it anew costs as much time as filling it."""
    return query.new_empty(len(query) * min(tile, len(candidates)))


def _fit(room: Tensor, like_bn: Tensor) -> Tensor:
    return room[: like_bn.numel()].view_as(like_bn)


def _log_sum_exp(logits_bn: Tensor, dim: int, out: Tensor) -> Tensor:
    """Over `dim`, -inf where all is excluded; `out` is overwritten and may be `logits_bn` itself."""
    highest = logits_bn.amax(dim, keepdim=True)
    highest.masked_fill_(highest == -torch.inf, 0)
    return torch.sub(logits_bn, highest, out=out).exp_().sum(dim).log_().add_(highest.squeeze(dim))
