"""Regions of an image to one vector of length 1.

Legend: B images, K regions of the image that has most, D features of a region, W features out.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import normalize

from models.fusion.guided_pooling import GuidedPooling


class RegionEncoder(nn.Module):
    """A linear map of each region, at length 1, then one vector out of them all, at length 1 as well.

    Source: CVSE (D = 2048, W = 1024), on which CODER builds. Features going in at length 1 is ours: detectors and
    grids give any scale.

    Args:
        region_dim: D.
        width: W.
        dropout: of the regions' features, and in the pooling.
    """

    def __init__(self, region_dim: int, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.layer = nn.Linear(region_dim, width)
        self.pooling = GuidedPooling(width, dropout)

    def forward(self, regions: Tensor, present: Tensor) -> Tensor:
        """regions [B, K, D], present [B, K] bool -> [B, W], zeros where an image has no region."""
        each = normalize(self.layer(self.dropout(normalize(regions.float(), dim=-1))).float(), dim=-1)
        return normalize(self.pooling(each, present).float(), dim=-1)
