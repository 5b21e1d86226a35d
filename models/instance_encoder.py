"""Frozen features of an instance, a clip or a good, to one vector.

Legend: B instances, C and E features of vision and of words, W width inside, D dimensions out.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from models.batch_norm_mlp import BatchNormMLP
from models.fusion.context_gating import ContextGatedFusion
from models.present_rows import PresentRows


class InstanceFeatures(NamedTuple):
    """What `InstanceEncoder.modalities` gives, each [B, W]; `vision` and `words` are zeros where an instance lacks the modality."""

    vision: Tensor
    words: Tensor
    fusion: Tensor


class InstanceEncoder(nn.Module):
    """An encoder for each modality, their fusion, and a perceptron that turns it into the vector that is searched.

        vision: C - H - H - W with batch norm and leaky ReLU,   words: E - W, batch norm, leaky ReLU,   fusion: context gating,
        query: W - W - W - D with batch norm and leaky ReLU

    The vector is not normalised. Rows depend on their batch in training mode, through batch norm.

    Source: MQMC as released (C = 2048, E = 768, H = 512, W = 1024, D = 512), which runs the modalities' encoders twice a step: their running
    statistics go twice as far at each.

    Args:
        vision_dim: C; 0: no instance of this kind has vision, and there is no encoder for it.
        words_dim: E; 0 likewise.
        hidden: H.
        width: W.
        dim: D.
        dropout: share of the features that is left out in training (ours; the release has none).
    """

    def __init__(self, vision_dim: int, words_dim: int, *, hidden: int = 512, width: int = 1024, dim: int = 512, dropout: float = 0.0) -> None:
        super().__init__()
        self.width = width
        self.dropout = nn.Dropout(dropout)
        self.vision = PresentRows(BatchNormMLP(vision_dim, hidden, hidden, width)) if vision_dim else None
        self.words = PresentRows(BatchNormMLP(words_dim, width, ends_linear=False)) if words_dim else None
        self.fusion = ContextGatedFusion(width)
        self.query = BatchNormMLP(width, width, width, dim)

    def modalities(self, vision: Tensor, has_vision: Tensor, words: Tensor, has_words: Tensor) -> InstanceFeatures:
        """Everything before `query`. vision [B, C], words [B, E], has_vision, has_words [B] bool."""
        one = self.vision(self.dropout(vision), has_vision) if self.vision is not None else vision.new_zeros(len(vision), self.width)
        other = self.words(self.dropout(words), has_words) if self.words is not None else words.new_zeros(len(words), self.width)
        return InstanceFeatures(one, other, self.fusion(one, other))

    def forward(self, vision: Tensor, has_vision: Tensor, words: Tensor, has_words: Tensor) -> Tensor:
        """The vector, [B, D]; arguments as of `modalities`."""
        return self.query(self.modalities(vision, has_vision, words, has_words).fusion)
