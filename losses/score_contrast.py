"""Cross-entropy of scores that are no plain products of vectors: each query's own candidate against the others.

Legend: Q queries, N candidates.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot


class ScoreContrast(nn.Module):
    """Weighted cross-entropy of each query's scores, in one direction.

        loss = -sum_i w_i log( exp(s_i,t(i) / temperature) / sum_j exp(s_ij / temperature) ),   w_i = 1/Q unless given

    Source: HSL as released, with queries' scores of all images of the batch, at temperature 1 and without `excluded`.

    Args:
        temperature: divides the scores; unitless, > 0.
    """

    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"temperature {temperature}: it divides scores and must be above 0")
        self.temperature = temperature

    def forward(self, scores: Tensor, target: Tensor, *, excluded: Tensor | None = None, weight: Tensor | None = None) -> Tensor:
        """The loss, a float32 scalar.

        Args:
            scores: [Q, N].
            target: [Q] int64, the column of each query's own candidate.
            excluded: [Q, N] bool, candidates that are no negatives of a query (they answer it too). The target always stays in.
            weight: [Q], how much each query counts, as `InfoNCE` has it.
        """
        logits_qn = scores.float() / self.temperature
        if excluded is not None:
            logits_qn = logits_qn.masked_fill(excluded & ~one_hot(target, scores.shape[1]).bool(), -torch.inf)
        loss_q = cross_entropy(logits_qn, target, reduction="none")
        return loss_q.mean() if weight is None else (loss_q * weight.float()).sum()
