"""Cross-entropy of a decoder's next tokens.

Legend: B texts, L tokens a text, V vocabulary.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

IGNORED = -100


class Reconstruction(nn.Module):
    """Each text's sum of next-token cross-entropies and how many tokens were counted; the sums' quotient is the mean loss.

        sum_i = -sum_{l >= 1, counted} log p(token_il | tokens before it),   logits at l - 1 predict the token at l

    The two parts are given apart so that many pieces or ranks can have the whole batch's mean: divide by the count of all of them.

    Source: causal language modelling as in GPT-2. QCD as released counts padding too: leave `mask` out.
    """

    def forward(self, logits: Tensor, ids: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(sums, counts), two float32 [B].

        Args:
            logits: [B, L, V] of a causal decoder that was given `ids`.
            ids: [B, L] int64.
            mask: [B, L], true (or 1) for tokens that count. A row of zeros leaves its text out. None: all tokens count.
        """
        wanted = ids[:, 1:]
        counted = torch.ones_like(wanted, dtype=torch.bool) if mask is None else mask[:, 1:].bool()
        predicted = logits[:, :-1].float().transpose(1, 2)
        loss_bl = F.cross_entropy(predicted, wanted.masked_fill(~counted, IGNORED), ignore_index=IGNORED, reduction="none")
        return loss_bl.sum(dim=1), counted.sum(dim=1).float()
