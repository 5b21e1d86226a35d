"""Contrast with momentum distillation: what a slower model finds similar is part of the target.

Legend: B queries, N candidates, D features.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TEMPERATURE_RANGE = (0.001, 0.5)
"""In which ALBEF keeps its learned temperature, which begins at 0.07."""


class SoftContrast(nn.Module):
    """Cross-entropy of each query against all candidates; the target is its own candidate and what the momentum model says.

        loss = -sum_i w_i sum_j ( (1 - alpha) [j = t(i)] + alpha p'_ij ) log p_ij
        p = softmax_j(cos(q_i, k_j) / temperature),   p' likewise of the momentum features, without a gradient,   w_i = 1/B unless given

    One direction; the other is a second call with the sides swapped. With alpha 0 it is `InfoNCE`. Float32 under autocast too.

    A learned temperature is the caller's parameter, and the caller keeps it within `TEMPERATURE_RANGE`, in place after each optimiser step.
    Clamped here it would get no gradient any more once it had left the range, and would never return.

    Source: Li et al. 2021 (ALBEF), eq. 1 and 2 and section 3.3, where the second part is KL(p' | p); as released it is this cross-entropy,
    whose gradient is the same. alpha = 0.4 in ALBEF and in QCD's release. There, further right answers share the target; here they are
    `excluded`.

    Args:
        alpha: share of the momentum model in the target, 0 to 1.
    """

    def __init__(self, alpha: float = 0.4) -> None:
        super().__init__()
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha {alpha}: it is the momentum model's share in the target; give 0 to 1 (0.4 as released)")
        self.alpha = alpha

    def forward(
        self,
        query: Tensor,
        candidates: Tensor,
        target: Tensor,
        soft_query: Tensor,
        soft_candidates: Tensor | None = None,
        temperature: Tensor | float = 0.07,
        *,
        excluded: Tensor | None = None,
        weight: Tensor | None = None,
    ) -> Tensor:
        """The loss, a float32 scalar.

        Args:
            query: [B, D].
            candidates: [N, D], commonly momentum features, of this batch and of a queue.
            target: [B] int64, the row of `candidates` that is each query's own.
            soft_query: [B, D], the momentum model's features of the queries.
            soft_candidates: [N, D], the momentum model's features of the candidates; None where `candidates` are those already.
            temperature: divides cosines; unitless, > 0, of one element. As a tensor it gets the gradient of p, not that of p'.
            excluded: [B, N] bool, candidates that are no negatives of a query; neither p nor p' gives them anything. The target always stays in.
            weight: [B], how much each query counts, as in `InfoNCE`.
        """
        with torch.autocast(query.device.type, enabled=False):
            left_out = torch.zeros(len(query), len(candidates), dtype=torch.bool, device=query.device) if excluded is None else excluded
            left_out = left_out.scatter(1, target[:, None], False)
            candidates = F.normalize(candidates.float(), dim=-1)
            log_p_bn = _logits(query, candidates, temperature, left_out).log_softmax(dim=1)
            with torch.no_grad():
                others = candidates if soft_candidates is None else F.normalize(soft_candidates.float(), dim=-1)
                soft_bn = _logits(soft_query, others, temperature, left_out).softmax(dim=1)
            own_b = F.nll_loss(log_p_bn, target, reduction="none")
            # What is left out has probability 0 and its logarithm is -inf: 0 times that would be no number.
            soft_b = -(soft_bn * log_p_bn.masked_fill(left_out, 0.0)).sum(dim=1)
            loss_b = (1 - self.alpha) * own_b + self.alpha * soft_b
            return loss_b.mean() if weight is None else (loss_b * weight.float()).sum()


def _logits(query: Tensor, candidates: Tensor, temperature: Tensor | float, left_out: Tensor) -> Tensor:
    """[B, N] cosines over the temperature, -inf where left out; `candidates` are of length 1."""
    return (F.normalize(query.float(), dim=-1) @ candidates.T / temperature).masked_fill(left_out, -torch.inf)
