"""A query's own candidate before the others, by a margin.

Legend: B queries, N candidates, D features.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MarginRanking(nn.Module):
    """Weighted hinge of each query: by how much its own candidate fails to lead its negatives by the margin.

        loss = sum_i w_i max_j h_ij   (`hardest`), or   sum_i w_i mean_j h_ij,   over the negatives j of query i
        h_ij = max(0, margin + s_ij - s_i,t(i)),   s = cosines,   w_i = 1/B unless given

    One direction; the other is a second call with the sides swapped. A query without a negative has loss 0. Float32 under autocast too.

    Source: ours in form, since QCD's release names a rank loss but does not show it; the hardest negative as in Faghri et al. 2018 (VSE++).

    Args:
        margin: least lead in cosine, >= 0.
        hardest: count the negative that comes closest alone; False takes the mean over all of them.
    """

    def __init__(self, margin: float = 0.2, *, hardest: bool = True) -> None:
        super().__init__()
        if not margin >= 0:
            raise ValueError(f"margin {margin}: it is the least lead in cosine and must not be below 0")
        self.margin, self.hardest = margin, hardest

    def forward(self, query: Tensor, candidates: Tensor, target: Tensor, *, excluded: Tensor | None = None, weight: Tensor | None = None) -> Tensor:
        """The loss, a float32 scalar.

        Args:
            query: [B, D].
            candidates: [N, D].
            target: [B] int64, the row of `candidates` that is each query's own.
            excluded: [B, N] bool, candidates that are no negatives of a query.
            weight: [B], how much each query counts, as in `InfoNCE`.
        """
        with torch.autocast(query.device.type, enabled=False):
            cosines_bn = F.normalize(query.float(), dim=-1) @ F.normalize(candidates.float(), dim=-1).T
            left_out = torch.zeros_like(cosines_bn, dtype=torch.bool) if excluded is None else excluded
            left_out = left_out.scatter(1, target[:, None], True)
            own_b1 = cosines_bn.gather(1, target[:, None])
            hinge_bn = F.relu(self.margin + cosines_bn - own_b1).masked_fill(left_out, 0.0)
            loss_b = hinge_bn.amax(dim=1) if self.hardest else hinge_bn.sum(dim=1) / (~left_out).sum(dim=1).clamp(min=1)
            return loss_b.mean() if weight is None else (loss_b * weight.float()).sum()
