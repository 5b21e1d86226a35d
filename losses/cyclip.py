"""CyCLIP: similarities that are the same from both sides and within both sides.

Legend: B pairs, D features.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class CyclicConsistency(nn.Module):
    """Squared asymmetry of the cross similarities and squared difference of the similarities within each side.

        loss = weight * B * ( mean((S - S^T)^2) + mean((Q Q^T - K K^T)^2) ),   S = Q K^T, unscaled cosines

    Source: Goel et al. 2022 (CyCLIP), eq. 3 and 4, scaled as in QCD's release, where both terms weigh 0.25.

    Args:
        weight: multiplies both terms; unitless.
    """

    def __init__(self, weight: float = 0.25) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, query: Tensor, candidates: Tensor) -> Tensor:
        """The loss, a float32 scalar. `query`, `candidates` [B, D]; rows of the same number belong together; normalised here."""
        with torch.autocast(query.device.type, enabled=False):
            query, candidates = F.normalize(query.float(), dim=-1), F.normalize(candidates.float(), dim=-1)
            cross = query @ candidates.T
            within = query @ query.T - candidates @ candidates.T
            return self.weight * len(query) * ((cross - cross.T).square().mean() + within.square().mean())
