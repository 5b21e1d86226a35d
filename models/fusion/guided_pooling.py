"""Several vectors of an item to one, each weighted by how it goes with their mean.

Legend: B items, N vectors of an item, W features.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.fusion.masked_softmax import masked_softmax


class GuidedPooling(nn.Module):
    """Weighted mean of an item's vectors, the weights from a comparison with their plain mean.

        out = sum_n w_n x_n,   w = softmax_n u . ( tanh(norm(P x_n)) * tanh(norm(Q m)) ),   m = mean_n x_n

    An item that has none of its vectors is zero.

    Source: the self-attention of CVSE (Wang et al. 2020), on which CODER builds. CVSE normalises by batch; layer norm in its place is ours, so that
    an item's vector follows from the item alone.

    Args:
        width: W.
        dropout: of the two sides of the comparison.
    """

    def __init__(self, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.each, self.mean = (nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width), nn.Tanh(), nn.Dropout(dropout)) for _ in range(2))
        self.score = nn.Linear(width, 1, bias=False)

    def forward(self, vectors: Tensor, present: Tensor) -> Tensor:
        """vectors [B, N, W], present [B, N] bool -> [B, W]."""
        vectors = vectors.where(present[..., None], 0)
        mean = vectors.sum(dim=1) / present.sum(dim=1, keepdim=True).clamp(min=1)
        scores = self.score(self.each(vectors) * self.mean(mean)[:, None])[..., 0]
        weights = masked_softmax(scores, present, dim=1)
        return torch.bmm(weights[:, None].to(vectors.dtype), vectors)[:, 0]
