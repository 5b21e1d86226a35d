"""Classes by how near a vector points to each.

Legend: B rows, W features, C classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize


class CosineHead(nn.Module):
    """Logits of C classes: cosines with a trained direction of each class, over a temperature. [B, W] -> float32 [B, C].

    For rows of length 1 a plain linear layer would have to grow its weights before it could tell anything with certainty. Source: the prototypes of
    SwAV (Caron et al. 2020, temperature .1).

    Args:
        width: W.
        classes: C.
        temperature: divides cosines; > 0.
    """

    def __init__(self, width: int, classes: int, temperature: float = 0.1) -> None:
        super().__init__()
        self.directions = nn.Parameter(normalize(torch.randn(classes, width), dim=-1))
        self.temperature = temperature

    def forward(self, rows: Tensor) -> Tensor:
        with torch.autocast(rows.device.type, enabled=False):
            return normalize(rows.float(), dim=-1) @ normalize(self.directions, dim=-1).T / self.temperature
