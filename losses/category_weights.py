"""How much a negative counts by its category: categories near the anchor's more than far ones.

Legend: C middle categories, U upper categories, D features.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

Weighting = Literal["intended", "released", "none"]
DISTANCE_EPS = 1e-6
"""Added to each difference, as `torch.pairwise_distance` does."""


def upper_centroids(centroids: Tensor, slots: Tensor, upper: Tensor, uppers: int, left_out: tuple[int, ...] = ()) -> tuple[Tensor, Tensor]:
    """Means [U, D] of each upper category's middle centroids, zeros where it has none, and [U] bool, which have any.

    Args:
        centroids: [C, D].
        slots: [C] rows that each centroid is the mean of; those of none do not count.
        upper: [C] int64, the upper category of each middle one, -1 where it has none.
        uppers: U.
        left_out: middle categories that do not count.
    """
    member = (upper == torch.arange(uppers, device=upper.device)[:, None]) & (slots > 0)
    member[:, list(left_out)] = False
    counts = member.sum(dim=1)
    return member.to(centroids.dtype) @ centroids / counts.clamp(min=1)[:, None], counts > 0


def category_distances(centroids: Tensor) -> Tensor:
    """Euclidean distances [n, n] between centroids [n, D], row minus column, 1e-6 added to each difference."""
    return torch.cdist(centroids + DISTANCE_EPS, centroids, compute_mode="donot_use_mm_for_euclid_dist")


class CategoryWeights(nn.Module):
    """Weights of negatives by the categories of anchor a and negative c, from distances between centroids in the negatives' modality.

    With y = exp(Euclidean distance) of middle (y2) and upper (y1) categories,

        intended:  1                                            the same middle category
                   1 - y2(a, c) / |y2(a, .)|                     the same upper category
                   1 - y1(a, c) / |y1(a, .)| - y2(a, c) / |y2(a, .)|     else,     |.| the L2 norm over categories
        released:  1                                            the same middle category
                   1 - y2(a, c) / |y2(a, .)|                     else,             |.| the L2 norm over all slots of all queues
        none:      1

    Source: MQMC. `intended` is the text's selection (same middle 1, same upper 1 - y2, else 1 - y1 - y2); that its norms run over categories
    is ours: over the slots of 30 queues of 2048 weights come to .995 to .999 and change nothing. `released`: the program's nested selection
    never reaches y1.

    Categories without rows have no distances (ours): they are no part of a norm, and y is 0 where the anchor or its upper category has none.

    Args:
        upper: the upper category of each middle one, -1 where it has none.
        weighting: which of the three.
        left_out: middle categories that are no part of an upper centroid.
    """

    upper: Tensor

    def __init__(self, upper: tuple[int, ...], weighting: Weighting = "intended", left_out: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.weighting, self.left_out = weighting, left_out
        self.uppers = max(upper) + 1
        self.register_buffer("upper", torch.tensor(upper), persistent=False)

    @torch.no_grad()
    def forward(self, centroids: Tensor, slots: Tensor) -> Tensor:
        """[C, C] float32: row a, column c.

        Args:
            centroids: [C, D], the mean of each queue's rows.
            slots: [C] int64, how many rows each queue holds.
        """
        ones = torch.ones(len(slots), len(slots), device=slots.device)
        if self.weighting == "none":
            return ones
        present = slots > 0
        middle = category_distances(centroids).exp() * (present[:, None] & present)
        same_middle = torch.eye(len(slots), dtype=torch.bool, device=slots.device)
        if self.weighting == "released":
            norm = (middle.square() * slots).sum(dim=1, keepdim=True).sqrt()
            return torch.where(same_middle, ones, 1 - middle / norm.clamp(min=1))
        above, has_rows = upper_centroids(centroids, slots, self.upper, self.uppers, self.left_out)
        upper = category_distances(above).exp() * (has_rows[:, None] & has_rows)
        # An entry that is not 0 is exp of a distance, 1 or more: clamped norms are those of empty rows alone.
        y2 = middle / middle.norm(dim=1, keepdim=True).clamp(min=1)
        y1 = upper / upper.norm(dim=1, keepdim=True).clamp(min=1)
        same_upper = self.upper[:, None] == self.upper
        weights = torch.where(same_upper, 1 - y2, 1 - y1[self.upper[:, None], self.upper] - y2)
        return torch.where(same_middle, ones, weights)
