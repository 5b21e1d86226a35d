"""InfoNCE: each query against its own candidate among all of them.

Legend: B queries, N candidates, D features.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class InfoNCE(nn.Module):
    """Weighted cross-entropy of each query against all candidates, one of which is its own.

        loss = -sum_i w_i log( exp(s_i,t(i)) / sum_j exp(s_ij) ),   s = q @ k.T / temperature,   w_i = 1/B unless given

    Both directions of a pair of embeddings are two calls with the sides swapped. Logits and softmax are float32 under autocast too.

    Source: van den Oord et al. 2018, eq. 4. QCD as released is `InfoNCE(temperature=1 / 20, normalise=False)` on documents that
    are L2-normalised and queries that are not, the mean of both directions, without `excluded`.

    Args:
        temperature: divides the similarities; unitless, > 0.
        normalise: compare cosines. False takes dot products of the vectors as they come.
    """

    def __init__(self, temperature: float = 0.05, *, normalise: bool = True) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"temperature {temperature}: it divides similarities and must be above 0")
        self.temperature = temperature
        self.normalise = normalise

    def forward(self, query: Tensor, candidates: Tensor, target: Tensor, *, excluded: Tensor | None = None, weight: Tensor | None = None) -> Tensor:
        """The loss, a float32 scalar.

        Args:
            query: [B, D].
            candidates: [N, D], of this rank, of all ranks or from a queue.
            target: [B] int64, the row of `candidates` that is each query's own.
            excluded: [B, N] bool, candidates that are no negatives of a query (they answer it too). The target always stays in.
            weight: [B], how much each query counts; 1 / B each where it is left out. A sum over ranks is a whole batch's mean where
                the weights of all ranks together are those of the whole batch.
        """
        with torch.autocast(query.device.type, enabled=False):
            query, candidates = query.float(), candidates.float()
            if self.normalise:
                query, candidates = F.normalize(query, dim=-1), F.normalize(candidates, dim=-1)
            logits_bn = query @ candidates.T / self.temperature
            if excluded is not None:
                own_bn = F.one_hot(target, len(candidates)).bool()
                logits_bn = logits_bn.masked_fill(excluded & ~own_bn, -torch.inf)
            loss_b = F.cross_entropy(logits_bn, target, reduction="none")
            return loss_b.mean() if weight is None else (loss_b * weight.float()).sum()
