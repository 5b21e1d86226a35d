"""Whether two things belong together, told by one number.

Legend: P pairs.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Matching(nn.Module):
    """Weighted binary cross-entropy of whether the two of a pair belong together.

        loss = -sum_i w_i ( y_i log s(x_i) + (1 - y_i) log(1 - s(x_i)) ),   s the logistic function,   w_i = 1/P unless given

    Float32 under autocast too.

    Source: image-text matching in ALBEF (Li et al. 2021, section 3.2), there with two logits, of which the difference alone counts.
    """

    def forward(self, logits: Tensor, matched: Tensor, *, weight: Tensor | None = None) -> Tensor:
        """The loss, a float32 scalar.

        Args:
            logits: [P], above 0 where a pair is taken for a right one.
            matched: [P] bool, y.
            weight: [P], how much each pair counts.
        """
        with torch.autocast(logits.device.type, enabled=False):
            loss_p = F.binary_cross_entropy_with_logits(logits.float(), matched.float(), reduction="none")
            return loss_p.mean() if weight is None else (loss_p * weight.float()).sum()
