"""Two modalities of an instance to one vector, by context gating.

Legend: B instances, W features.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ContextGatedFusion(nn.Module):
    """A linear layer each, one over both, batch norm, and a gate of every feature that looks at all of them.

        x = norm( A [A_1 first ; A_2 second] ),   out = x * sigmoid( G x )        (A, A_1, A_2, G with biases)

    Source: MQMC as released; context gating is that of Miech et al. 2017.

    Args:
        width: W.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)
        self.joint = nn.Linear(2 * width, width)
        self.norm = nn.BatchNorm1d(width)
        self.gate = nn.Linear(width, width)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """first, second [B, W], zeros where an instance lacks the modality -> [B, W]."""
        x = self.norm(self.joint(torch.cat([self.first(first), self.second(second)], dim=1)))
        return x * self.gate(x).sigmoid()
