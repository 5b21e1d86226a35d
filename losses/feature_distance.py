"""Distance between two embeddings of the same items.

Legend: B items, D features.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class FeatureDistance(nn.Module):
    """Mean squared difference of an item's two embeddings, times `scale`.

        loss = scale * sum_i w_i mean_d( (a_id - b_id)^2 ),   w_i = 1/B unless given

    Source: QCD as released keeps the fused embedding near the frames' with `FeatureDistance(10)`.

    Args:
        scale: multiplies the mean square; unitless.
    """

    def __init__(self, scale: float = 10.0) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, first: Tensor, second: Tensor, *, weight: Tensor | None = None) -> Tensor:
        """The loss, a float32 scalar. `first`, `second` [B, D]; `weight` [B] is how much each item counts, 1 / B each where left out."""
        with torch.autocast(first.device.type, enabled=False):
            loss_b = (first.float() - second.float()).square().mean(dim=-1)
            return self.scale * (loss_b.mean() if weight is None else (loss_b * weight.float()).sum())
