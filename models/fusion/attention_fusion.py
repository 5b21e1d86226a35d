"""Words and frames to one vector.

Legend: B items, D dimensions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class AttentionFusion(nn.Module):
    """Gated sum of an item's two vectors, L2-normalised.

        g = softmax( W [text ; vision] + b ),   out = normalise( g_1 text + g_2 vision )

    An item that lacks one of the two is the other one, normalised: the missing one's gate is exactly 0 and its vector is not looked at. An item
    that lacks both is the zero vector.

    Source: QCD (Real20M), as released.

    Args:
        dim: D.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.projection = nn.Linear(2 * dim, 2)

    def forward(self, text: Tensor, vision: Tensor, *, has_text: Tensor | None = None, has_vision: Tensor | None = None) -> Tensor:
        """text, vision [B, D], normalised by the caller where that is wanted; has_text, has_vision [B] bool (None: all have it) -> [B, D] float32."""
        present = torch.stack([_all_where_none(has_text, text), _all_where_none(has_vision, vision)], dim=1)
        text, vision = text.where(present[:, :1], 0), vision.where(present[:, 1:], 0)
        logits = self.projection(torch.cat([text, vision], dim=1))
        with torch.autocast(text.device.type, enabled=False):
            # Not -inf: where both are missing the softmax must stay finite.
            gates = logits.float().masked_fill(~present, torch.finfo(torch.float32).min).softmax(dim=1) * present
            return F.normalize(gates[:, :1] * text.float() + gates[:, 1:] * vision.float(), dim=1)


def _all_where_none(has: Tensor | None, rows: Tensor) -> Tensor:
    return torch.ones(len(rows), dtype=torch.bool, device=rows.device) if has is None else has.bool()
