"""Noise of the kind that makes two clips of one product differ.

Legend: B rows, C features.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class WithinItemNoise(nn.Module):
    """In training, each row plus what two other rows of one product differ in, and a little of everything.

        x + within / 2 sum_{t = 1, 2} e_t (a_t - b_t) + isotropic s e_3,     e_t ~ N(0, 1),  e_3 ~ N(0, 1) for each feature

    a_t and b_t are drawn anew for each row among all pairs of different rows of the batch that are of the same product, whichever it is; s is the
    standard deviation within a product, over those pairs and all features. So the noise has the covariance within^2 S + isotropic^2 s^2, where S
    is that of clips around their product: what discriminant analysis takes for noise and divides by (its S shrunk towards s^2), given to a network
    as data. A batch without such a pair stays as it is.

    Source: ours, for corpora of a few clips a product.

    Args:
        within: scale of the differences; 1 adds as much as is there.
        isotropic: scale of the noise in all directions, likewise.
    """

    def __init__(self, within: float, isotropic: float) -> None:
        super().__init__()
        if within < 0 or isotropic < 0:
            raise ValueError(f"noise within products of scale {within}, in all directions {isotropic}: both must be 0 or more")
        self.within, self.isotropic = within, isotropic

    def forward(self, rows: Tensor, items: Tensor, present: Tensor) -> Tensor:
        """rows [B, C], items [B] int64, the number of each row's product, present [B] bool -> [B, C]; rows that are not present stay."""
        if not self.training or not (self.within or self.isotropic):
            return rows
        same = (items[:, None] == items) & present[:, None] & present
        first, second = same.fill_diagonal_(False).nonzero(as_tuple=True)
        if not len(first):
            return rows
        noise = torch.zeros_like(rows)
        for _ in range(2):
            drawn = torch.randint(len(first), (len(rows),), device=rows.device)
            noise += self.within / 2 * torch.randn_like(rows[:, :1]) * (rows[first[drawn]] - rows[second[drawn]])
        spread = ((rows[first] - rows[second]).square().mean() / 2).sqrt()
        noise += self.isotropic * spread * torch.randn_like(rows)
        return rows + noise * present[:, None]
