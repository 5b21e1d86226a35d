"""How well a query's vector fits a set of regions: its products with them, made one number.

Legend: Q queries, N images, K regions of an image (padded), E dimensions.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from models.two_levels import masked_mean, masked_sum

Aggregation = Literal["mean", "max", "sum", "topk"]

ONE_VECTOR: tuple[Aggregation, ...] = ("mean", "sum")
"""Aggregations for which the score is the query's product with one vector of the image (`pooled`)."""


def pooled(regions: Tensor, mask: Tensor, aggregation: Aggregation) -> Tensor:
    """The image's one vector [N, E]: the mean or sum of its regions [N, K, E]; of other aggregations the mean, which only comes near to them."""
    return masked_sum(regions, mask) if aggregation == "sum" else masked_mean(regions, mask)


def region_scores(queries: Tensor, regions: Tensor, mask: Tensor, aggregation: Aggregation, best: int = 1) -> Tensor:
    """Scores [Q, N]: the mean, largest, sum, or mean of the `best` largest of the products q . r over an image's regions r.

    Source: HSL as released has mean, max and sum; topk is the same with a few of the regions.

    Args:
        queries: [Q, E].
        regions: [N, K, E].
        mask: bool [N, K], True where there is a region, at least one an image.
        best: regions that topk looks at; all where an image has fewer.
    """
    if aggregation in ONE_VECTOR:
        return queries @ pooled(regions, mask, aggregation).T
    products_qnk = torch.einsum("qe,nke->qnk", queries, regions).masked_fill(~mask, -torch.inf)
    if aggregation == "max":
        return products_qnk.amax(dim=2)
    found = products_qnk.topk(min(best, mask.shape[1]), dim=2).values
    present = found > -torch.inf
    return torch.where(present, found, 0).sum(dim=2) / present.sum(dim=2)
