"""A set seen at two levels: transformer layers, and further ones on top of them.

Legend: B sets, K members of a set (padded), W features.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class TwoLevels(nn.Module):
    """The members of a set after `layers` encoder layers (low) and after `layers` more (top); nothing tells their order.

    Source: HSL as released, torch's encoder layers with the norm after each part, and ReLU inside.

    Args:
        width: W.
        layers: of each level.
        heads: attention heads.
        feedforward: width inside a layer.
        dropout: share, in training.
    """

    def __init__(self, width: int, layers: int, heads: int, feedforward: int, dropout: float) -> None:
        super().__init__()
        self.first, self.second = (
            nn.TransformerEncoder(
                nn.TransformerEncoderLayer(width, heads, feedforward, dropout, batch_first=True), layers, enable_nested_tensor=False
            )
            for _ in range(2)
        )

    def forward(self, members: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(low, top), each [B, K, W], of members [B, K, W]; mask bool [B, K], True where there is one, at least once a set."""
        low = self.first(members, src_key_padding_mask=~mask)
        return low, self.second(low, src_key_padding_mask=~mask)


def masked_mean(members: Tensor, mask: Tensor) -> Tensor:
    """Mean over the members that are there, [B, W]; 0 for an empty set."""
    return masked_sum(members, mask) / mask.sum(dim=1, keepdim=True).clamp(min=1)


def masked_sum(members: Tensor, mask: Tensor) -> Tensor:
    """Sum over the members that are there, [B, W]."""
    return torch.where(mask[..., None], members, 0).sum(dim=1)
