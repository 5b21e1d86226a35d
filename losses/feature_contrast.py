"""Feature contrast of two modalities as MQMC was released.

Legend: B rows of this rank, N of all ranks, W features.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize


class ReleasedFeatureContrast(nn.Module):
    """Sums of row-normalised similarities of each row to all others' rows, over a margin.

        loss = sum_i w_i 2 / margin sum_(j != i) S_ij,   S = rows of first @ candidates.T, each L2-normalised;   w_i = 1/B unless given

    Source: MQMC as released, which takes the logarithm of exp of a sum where a sum of exp was meant, so that nothing is left of either:
    mean_i [ (column sum_i - S_ii) + (row sum_i - S_ii) ] / margin. Over a whole batch the column sums add up to what the row sums add up to,
    and so a row's own sum is enough.

    Args:
        margin: divides the sums; 100 as released.
    """

    def __init__(self, margin: float = 100.0) -> None:
        super().__init__()
        self.margin = margin

    def forward(self, first: Tensor, candidates: Tensor, own: Tensor, *, present: Tensor | None = None, weight: Tensor | None = None) -> Tensor:
        """The loss, a float32 scalar.

        Args:
            first: [B, W], one modality.
            candidates: [N, W], the other modality of all ranks' rows.
            own: [B] int64, the row of `candidates` that belongs to each row.
            present: [N] bool, candidates that count; rows that do not are given the weight 0. None: all count.
            weight: [B], how much each row counts; 1 / B each where it is left out.
        """
        with torch.autocast(first.device.type, enabled=False):
            similar_bn = first.float() @ candidates.float().T
            if present is not None:
                similar_bn = similar_bn * present
            similar_bn = normalize(similar_bn, dim=1)
            loss_b = 2 / self.margin * (similar_bn.sum(dim=1) - similar_bn.gather(1, own[:, None])[:, 0])
            return loss_b.mean() if weight is None else (loss_b * weight.float()).sum()
