"""InfoNCE whose negatives have weights.

Legend: B queries, N candidates, D features.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class WeightedNegativesContrast(nn.Module):
    """Cross-entropy of each query's own candidate among it and weighted negatives.

        loss = sum_i b_i log( 1 + sum_j w_ij exp(s_ij - s_i,t(i)) ),   s = cosine / temperature,   j: candidates that are negatives of query i

    with b_i = 1/B unless given, and w_ij = w_j over the mean of w among the query's own negatives, so that weights move the contrast between
    negatives and leave its size: equal weights give `InfoNCE`. One direction. Float32 under autocast too.

    Source: van den Oord et al. 2018, eq. 4; weights inside the sum as in the debiased contrasts (Robinson et al. 2021), their norm is ours.

    Args:
        temperature: divides cosines; unitless, > 0.
    """

    def __init__(self, temperature: float) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"temperature {temperature}: it divides similarities and must be above 0")
        self.temperature = temperature

    def forward(
        self,
        query: Tensor,
        candidates: Tensor,
        target: Tensor,
        excluded: Tensor,
        log_weights: Tensor | None = None,
        *,
        weight: Tensor | None = None,
    ) -> Tensor:
        """The loss, a float32 scalar.

        Args:
            query: [B, D]. candidates: [N, D]. target: [B] int64, the row of each query's own candidate.
            excluded: [B, N] bool, candidates that are no negatives of a query. The target always stays in.
            log_weights: [N], the logarithms of w; None: all alike.
            weight: b [B], how much each query counts.
        """
        with torch.autocast(query.device.type, enabled=False):
            logits_bn = F.normalize(query.float(), dim=-1) @ F.normalize(candidates.float(), dim=-1).T / self.temperature
            own_bn = F.one_hot(target, len(candidates)).bool()
            if log_weights is not None:
                weights_bn = log_weights.float().expand_as(logits_bn).masked_fill(excluded | own_bn, -torch.inf)
                negatives_b = (~(excluded | own_bn)).sum(dim=1).clamp(min=1)
                mean_b = weights_bn.logsumexp(dim=1).nan_to_num(neginf=0.0) - negatives_b.log()
                logits_bn = logits_bn + torch.where(own_bn, 0.0, log_weights.float() - mean_b[:, None])
            loss_b = F.cross_entropy(logits_bn.masked_fill(excluded & ~own_bn, -torch.inf), target, reduction="none")
            return loss_b.mean() if weight is None else (loss_b * weight.float()).sum()
