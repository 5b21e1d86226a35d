"""Cross-entropy of the words that were masked.

Legend: B texts, M masked words of all texts, V vocabulary.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MaskedWords(nn.Module):
    """Each text's sum of cross-entropies over its masked words.

        sum_i = -sum_{m of text i} log softmax(logits_m)[word_m]

    Divide by the number of masked words of all texts for the mean; many pieces or ranks can then have the whole batch's. Float32 under
    autocast too.

    Source: masked language modelling of BERT (Devlin et al. 2019).
    """

    def forward(self, logits: Tensor, words: Tensor, texts: Tensor, count: int) -> Tensor:
        """The sums, float32 [B]; 0 for a text without a masked word.

        Args:
            logits: [M, V]; M may be 0.
            words: [M] int64, what stood there.
            texts: [M] int64, the number of each masked word's text.
            count: B.
        """
        loss_m = F.cross_entropy(logits.float(), words, reduction="none")
        return torch.zeros(count, device=logits.device).index_add(0, texts, loss_m)
