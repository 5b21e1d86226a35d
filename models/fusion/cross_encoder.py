"""Words that look at an image: the fusion encoder of pre-training.

Legend: B documents, L words (tokens), N places of an image, C features of a tower, D dimensions of a vector, W the width of the encoder.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Side(nn.Module):
    """One side of a document for the fusion encoder: its vector, then its tokens, each by a linear layer and a norm.

    Args:
        dim: D.
        features: C.
        width: W.
    """

    def __init__(self, dim: int, features: int, width: int) -> None:
        super().__init__()
        self.vector = nn.Sequential(nn.Linear(dim, width), nn.LayerNorm(width))
        self.tokens = nn.Sequential(nn.Linear(features, width), nn.LayerNorm(width))

    def forward(self, vector: Tensor, tokens: Tensor) -> Tensor:
        """vector [B, D], tokens [B, N, C] -> [B, 1 + N, W]."""
        return torch.cat([self.vector(vector)[:, None], self.tokens(tokens)], dim=1)


class CrossEncoder(nn.Module):
    """Transformer layers in which a document's words attend to each other, in both directions, and to the places of its image.

        x = side(title, words),   y = side(vision, places);   then in each layer
        x <- x + attention(norm x, x);   x <- x + attention(norm x, y);   x <- x + mlp(norm x);   in the end norm(x)

    Each side begins with the vector by which it was contrasted with the other one, so that the two are comparable from the first layer on;
    what the title's becomes stands for the pair. A document's frames are averaged place by place before.

    Source: the multimodal encoders of ALBEF (Li et al. 2021) and ALPRO (Li et al. 2022), where class tokens stand in front; QCD's release has
    a leftover of one: 12 layers of a RoBERTa with cross-attention to 196 patches, the mean over frames. The contrasted vectors in front, the
    norms before each branch and the beginning from nothing are ours.

    Args:
        dim: D, of both vectors.
        words, places: C of the text and of the vision tower.
        width: W, a multiple of `heads`.
        layers, heads: of the transformer; its inner layers are four times as wide, with GELU.
        dropout: of attention and of all three branches.
    """

    def __init__(self, dim: int, words: int, places: int, *, width: int, layers: int, heads: int, dropout: float) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"{heads} attention heads do not divide a fusion encoder of width {width}")
        self.words, self.places = Side(dim, words, width), Side(dim, places, width)
        self.layers = nn.ModuleList(
            nn.TransformerDecoderLayer(width, heads, 4 * width, dropout, activation="gelu", batch_first=True, norm_first=True) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, words: Tensor, mask: Tensor, places: Tensor) -> Tensor:
        """What title and words have become, [B, 1 + L, W].

        Args:
            words: [B, 1 + L, W], from `self.words`.
            mask: [B, L], 1 or true for words and 0 for padding, which nobody attends to.
            places: [B, 1 + N, W], from `self.places`.
        """
        padding = nn.functional.pad(~mask.bool(), (1, 0))
        for layer in self.layers:
            words = layer(words, places, tgt_key_padding_mask=padding)
        return self.norm(words)
