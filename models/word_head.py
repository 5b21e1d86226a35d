"""From a vector to the word that stood there.

Legend: M vectors, W their width, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class WordHead(nn.Module):
    """Logits of all words by inner products with a text tower's own table of words.

        logits = norm(gelu(linear(x))) @ table.T + bias

    Source: BERT (Devlin et al. 2019), as released. The table stays the tower's: it is given at each call and is no parameter of the head.

    Args:
        width: W.
        table_width: of the table's rows.
        vocabulary_size: V.
    """

    def __init__(self, width: int, table_width: int, vocabulary_size: int) -> None:
        super().__init__()
        self.transform = nn.Sequential(nn.Linear(width, table_width), nn.GELU(), nn.LayerNorm(table_width))
        self.bias = nn.Parameter(torch.zeros(vocabulary_size))

    def forward(self, vectors: Tensor, table: Tensor) -> Tensor:
        """vectors [M, W], table [V, table_width] -> logits [M, V]; M may be 0."""
        return nn.functional.linear(self.transform(vectors), table, self.bias)
