"""Cross-entropy towards a distribution instead of one class.

Legend: B items, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SoftTargets(nn.Module):
    """Weighted cross-entropy of predicted classes against soft targets.

        loss = -sum_i w_i sum_k p_ik log softmax_k(logits_i),   w_i = 1/B unless given

    It is least, at the targets' entropy, where the prediction equals the targets, which get no gradient. Float32 under autocast too.

    Source: the prompting entity modelling loss of ALPRO (Li et al. 2022, section 3.3).
    """

    def forward(self, logits: Tensor, targets: Tensor, *, weight: Tensor | None = None) -> Tensor:
        """The loss, a float32 scalar.

        Args:
            logits: [B, K].
            targets: [B, K], rows that sum to 1.
            weight: [B], how much each item counts.
        """
        with torch.autocast(logits.device.type, enabled=False):
            loss_b = -(targets.detach().float() * logits.float().log_softmax(dim=1)).sum(dim=1)
            return loss_b.mean() if weight is None else (loss_b * weight.float()).sum()
