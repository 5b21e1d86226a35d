"""HSL's view of a query: its words at a top and a low level, for the regions of an image and for the image as a whole.

Legend: B queries, L words of a query (padded), V words of the vocabulary, C dimensions of a word's vector, W width inside, E dimensions of the
common space.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn.functional import normalize

from models.two_levels import TwoLevels, masked_mean


class WordVectors(NamedTuple):
    """A query's vectors [B, E], each to be compared with the image's of the same name."""

    object_top: Tensor
    object_low: Tensor
    image_top: Tensor
    image_low: Tensor


class WordLevels(nn.Module):
    """Numbers of words to vectors of the common space: a linear layer each of the mean over words, at the top or the low level.

    Source: HSL as released (`--no_txtnorm`: vectors are as long as they come out).

    Args:
        vocabulary: V.
        vector_dim: C; a linear layer takes word vectors to W where that is another number.
        width: W.
        dim: E.
        layers, heads, feedforward, dropout: of the layers (`TwoLevels`).
        normalise: give the vectors length 1.
    """

    def __init__(
        self, vocabulary: int, *, vector_dim: int, width: int, dim: int, layers: int, heads: int, feedforward: int, dropout: float, normalise: bool
    ) -> None:
        super().__init__()
        self._normalise = normalise
        self.words = nn.Embedding(vocabulary, vector_dim, padding_idx=0)
        self.project = nn.Linear(vector_dim, width) if vector_dim != width else nn.Identity()
        self.levels = TwoLevels(width, layers, heads, feedforward, dropout)
        self.object_top, self.object_low, self.image_top, self.image_low = (nn.Linear(width, dim) for _ in range(4))

    def forward(self, words: Tensor, mask: Tensor) -> WordVectors:
        """words int64 [B, L], mask bool [B, L], True where there is a word, at least one a query."""
        low, top = (masked_mean(level, mask) for level in self.levels(self.project(self.words(words)), mask))
        heads = ((self.object_top, top), (self.object_low, low), (self.image_top, top), (self.image_low, low))
        vectors = (head(mean).float() for head, mean in heads)
        return WordVectors(*(normalize(one, dim=-1) if self._normalise else one for one in vectors))
