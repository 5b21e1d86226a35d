"""An image or a caption in terms of concepts: it asks all of them, and is the mean of what answers.

Legend: B items, K concepts, W features.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

SHARPNESS = 10.0
"""Of both softmaxes, over scores and over labels; that of CVSE."""


class ConceptQuery(nn.Module):
    """Weighted mean of concept vectors, at length 1, the weights from a comparison of each with the item.

        out = normalise( sum_k a_k c_k ),   a = softmax_k 10 u . ( tanh(norm(P c_k)) * tanh(norm(Q x)) )

    For a caption, whose concepts are known, a is (1 - r) a + r softmax(10 label); one that holds none keeps its a, which is ours.

    Source: CVSE, as released (r = .35 on Flickr30K, .4 on MSCOCO). CVSE normalises by batch; layer norm in its place is ours, so that an item's
    vector follows from the item alone. It could be that CVSE's r is the scores' share; which it is we could not read.

    Args:
        width: W.
        label_share: r, 0 to 1.
        dropout: of the two sides of the comparison.
    """

    def __init__(self, width: int, label_share: float = 0.35, dropout: float = 0.0) -> None:
        super().__init__()
        if not 0 <= label_share <= 1:
            raise ValueError(f"label share {label_share}: a caption's own concepts have a share of 0 to 1 in what it asks for")
        self.label_share = label_share
        self.each, self.item = (nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width), nn.Tanh(), nn.Dropout(dropout)) for _ in range(2))
        self.score = nn.Linear(width, 1, bias=False)

    def forward(self, items: Tensor, concepts: Tensor, labels: Tensor | None = None) -> Tensor:
        """items [B, W], concepts [K, W], labels [B, K] of 0 and 1 where the items' own concepts are known -> float32 [B, W]."""
        # u . (p * q) as one product of [B, W] and [W, K]: nothing of B x K x W is made.
        scores = (self.item(items) * self.score.weight) @ self.each(concepts).T
        weights = (SHARPNESS * scores.float()).softmax(dim=1)
        if labels is not None:
            share = self.label_share * labels.any(dim=1, keepdim=True)
            weights = (1 - share) * weights + share * (SHARPNESS * labels.float()).softmax(dim=1)
        with torch.autocast(items.device.type, enabled=False):
            return normalize(weights @ concepts.float(), dim=-1)
