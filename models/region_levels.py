"""HSL's view of an image: its regions (objects) and the image as a whole, each at a top and a low level.

Legend: B images, K regions of an image (padded), D features of a region, W width inside, E dimensions of the common space.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn.functional import dropout, normalize

from models.fusion.masked_softmax import masked_softmax
from models.two_levels import TwoLevels


class RegionVectors(NamedTuple):
    """An image's vectors, all of length 1: of each region [B, K, E] (rows past its own are meaningless), of the whole [B, E]."""

    object_top: Tensor
    object_low: Tensor
    image_top: Tensor
    image_low: Tensor


class RegionLevels(nn.Module):
    """Regions to vectors of the common space.

        x = regions A;   low = three layers of x;   top = three layers of low
        object_l = l2( dropout( o_l ) ),   o_l = H_l(l)                                                 l = top, low
        image_l  = l2( M sum_k w_k v_k ),   v_k = I_l( ReLU(o_l,k) ),   w = softmax_k( u . ReLU(P v_k) )

    A, H, I, M and P are linear layers; M, P and u are the same at both levels. Source: HSL as released, which divides image vectors by the root of W
    before it normalises them.

    Args:
        regions: D.
        width: W.
        dim: E.
        layers, heads, feedforward, transformer_dropout: of the layers (`TwoLevels`).
        object_dropout: share of the regions' vectors that is left out in training.
    """

    def __init__(
        self, regions: int, *, width: int, dim: int, layers: int, heads: int, feedforward: int, transformer_dropout: float, object_dropout: float
    ) -> None:
        super().__init__()
        self._dropout = object_dropout
        self.project = nn.Linear(regions, width)
        self.levels = TwoLevels(width, layers, heads, feedforward, transformer_dropout)
        self.object_top, self.object_low = nn.Linear(width, dim), nn.Linear(width, dim)
        self.image_top, self.image_low = nn.Linear(dim, width), nn.Linear(dim, width)
        self.pooling = SetAttention(width, dim)

    def forward(self, regions: Tensor, mask: Tensor) -> RegionVectors:
        """regions [B, K, D], mask bool [B, K], True where there is a region, at least one an image."""
        low, top = self.levels(self.project(regions), mask)
        objects = self.object_top(top), self.object_low(low)
        images = (self.pooling(layer(one.relu()), mask) for layer, one in zip((self.image_top, self.image_low), objects))
        kept = (dropout(one, self._dropout, self.training) for one in objects)
        return RegionVectors(*(normalize(one.float(), dim=-1) for one in (*kept, *images)))


class SetAttention(nn.Module):
    """One vector of a set: M of the mean weighted by softmax( u . ReLU(P v) ). Source: MCAN's attention reduction, as HSL uses it.

    Args:
        width: W.
        dim: E.
    """

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.hidden, self.score, self.merge = nn.Linear(width, width), nn.Linear(width, 1), nn.Linear(width, dim)

    def forward(self, members: Tensor, mask: Tensor) -> Tensor:
        """members [B, K, W], mask bool [B, K] -> [B, E]."""
        weights = masked_softmax(self.score(self.hidden(members).relu())[..., 0], mask, dim=1)
        return self.merge((weights[:, None].to(members.dtype) @ members)[:, 0])
