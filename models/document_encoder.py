"""Words and frames of a good or a clip to one vector, and queries to the same space.

Legend: B items, T frames, S pixels a side, L tokens, N places of an image, C features of a tower, D dimensions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from models.encoders import TextEncoder, VisionEncoder
from models.fusion.attention_fusion import AttentionFusion
from models.fusion.frame_integration import FrameIntegration

Rows = Tensor | slice


class DocumentVectors(NamedTuple):
    """A batch of documents, three times [B, D], each row of length 1; zeros stand for a modality that is missing."""

    title: Tensor
    vision: Tensor
    fusion: Tensor


class DocumentTokens(NamedTuple):
    """A batch of documents before fusion: two vectors [B, D], as in `DocumentVectors`, and what the towers give of each part.

    `words` [B, L, C] of the tokens, padding included; `places` [B, N, C] of an image's places, the mean over a clip's frames. Zeros stand for
    a modality that is missing.
    """

    title: Tensor
    vision: Tensor
    words: Tensor
    places: Tensor


class DocumentEncoder(nn.Module):
    """Two towers, frame integration and gated fusion: the part of QCD that is searched with, and that pre-training prepares.

    One text tower serves queries and document words.

    Args:
        text: [B, L] -> [B, D].
        vision: uint8 [B, 3, S, S] -> [B, D].
        frames: T, the positions of the frame integration.
        heads: attention heads of the frame integration.
    """

    def __init__(self, text: TextEncoder, vision: VisionEncoder, *, frames: int, heads: int) -> None:
        super().__init__()
        self.text, self.vision = text, vision
        self.frame_integration = FrameIntegration(text.dim, frames, heads=heads)
        self.fusion = AttentionFusion(text.dim)

    @property
    def feature_dim(self) -> int:
        """Width of `features`."""
        return self.text.width + self.vision.width

    def forward(self, frames: Tensor, has_vision: Tensor, ids: Tensor, mask: Tensor, has_words: Tensor) -> DocumentVectors:
        """The documents' vectors.

        Args:
            frames: uint8 [B, T or 1, 3, S, S]; a single image stands for T equal frames.
            has_vision, has_words: [B] bool, what a document has.
            ids, mask: [B, L] int64, its words.
        """
        title, vision = self.titles(ids, mask, has_words), self.visions(frames, has_vision)
        return DocumentVectors(title, vision, self.fusion(title, vision, has_text=has_words, has_vision=has_vision))

    def titles(self, ids: Tensor, mask: Tensor, has_words: Tensor) -> Tensor:
        """[B, D] of length 1, from words alone; zeros where there are none."""
        return on_rows(has_words, lambda rows: normalize(self.text(ids[rows], mask[rows]), dim=-1))

    def visions(self, frames: Tensor, has_vision: Tensor) -> Tensor:
        """[B, D] of length 1, from frames alone; zeros where there are none."""
        return on_rows(has_vision, lambda rows: self._integrated(frames[rows]))

    def tokens(self, frames: Tensor, has_vision: Tensor, ids: Tensor, mask: Tensor, has_words: Tensor, grid: int = 0) -> DocumentTokens:
        """Both vectors and the tokens behind them, with one forward of each tower. `grid` as in `VisionEncoder.outputs`, else as in `forward`."""

        def read(rows: Rows) -> tuple[Tensor, Tensor]:
            text = self.text.outputs(ids[rows], mask[rows])
            return normalize(self.text.projection(text.pooled), dim=-1), text.tokens

        def look(rows: Rows) -> tuple[Tensor, Tensor]:
            count = frames.shape[1]
            seen = self.vision.outputs(frames[rows].flatten(0, 1), grid)
            vectors = self.vision.projection(seen.pooled).unflatten(0, (-1, count))
            return normalize(self.frame_integration(vectors), dim=-1), seen.tokens.unflatten(0, (-1, count)).mean(dim=1)

        (title, words), (vision, places) = all_on_rows(has_words, read), all_on_rows(has_vision, look)
        return DocumentTokens(title, vision, words, places)

    def features(self, frames: Tensor, has_vision: Tensor, ids: Tensor, mask: Tensor, has_words: Tensor) -> Tensor:
        """The towers' pooled features before any projection, words then frames (mean over T), each of length 1, zeros where missing: [B, C]."""
        words = on_rows(has_words, lambda rows: normalize(self.text.features(ids[rows], mask[rows]), dim=-1))
        seen = on_rows(
            has_vision,
            lambda rows: normalize(self.vision.features(frames[rows].flatten(0, 1)).unflatten(0, (-1, frames.shape[1])).mean(dim=1), dim=-1),
        )
        return torch.cat([words, seen], dim=1)

    def _integrated(self, frames: Tensor) -> Tensor:
        features = self.vision(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
        return normalize(self.frame_integration(features), dim=-1)


def on_rows(present: Tensor, encode: Callable[[Rows], Tensor]) -> Tensor:
    """`encode(rows)` for the rows that are present, zeros [B, D] elsewhere."""
    return all_on_rows(present, lambda rows: (encode(rows),))[0]


def all_on_rows(present: Tensor, encode: Callable[[Rows], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """Each of `encode(rows)` for the rows that are present, zeros [B, ...] elsewhere.

    Where none is present one row is encoded and multiplied by zero: every parameter stays in the graph, as DDP needs it.
    """
    rows = present.nonzero()[:, 0]
    if len(rows) == len(present):
        return encode(slice(None))  # a view: no copy of all frames
    empty = len(rows) == 0
    if empty:
        rows = torch.zeros(1, dtype=torch.long, device=present.device)
    found = encode(rows)
    out = (torch.zeros(len(present), *one.shape[1:], dtype=one.dtype, device=one.device) for one in found)
    return tuple(zeros.index_copy(0, rows, one * 0 if empty else one) for zeros, one in zip(out, found))
