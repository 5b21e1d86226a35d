"""The forms of a document encoder: its two towers, and documents as a whole.

Legend: B items, T frames, S pixels a side, L tokens, D dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from models.document_encoder import DocumentEncoder
from models.encoders import TextEncoder, VisionEncoder
from pipeline.exporting.draw import ROWS, Draw
from pipeline.exporting.forms import Exports, Graph

Tower = TypeVar("Tower", VisionEncoder, TextEncoder)


def document_exports(document: DocumentEncoder, tokenizer: Path, lengths: Mapping[str, int]) -> Exports:
    """Towers and graphs of a system that searches with `document`, in eval mode on the CPU.

    Args:
        tokenizer: folder of the text tower's tokenizer.
        lengths: tokens that words are cut to, by kind of words ("query", "document").
    """
    vision, text = _traceable(document.vision), _traceable(document.text)
    draw = Draw(document.vision, document.text, lengths)
    frame_axes, word_axes = {0: "batch"}, {0: "batch", 1: "tokens"}
    positions, size = document.frame_integration.positional_embedding.shape[1], document.vision.image_size
    clip_axes = {0: "batch", 1: "frames"} if positions > 1 else frame_axes
    counts = f"1 (an image) or {positions} (a clip)" if positions > 1 else "1"
    graphs = {
        "vision": Graph(
            FrameVectors(vision),
            lambda frames: normalize(document.vision(frames), dim=-1),
            {"frames": frame_axes},
            [draw.frames(rows) for rows in ROWS],
            f"`frames` uint8 [B, 3, {size}, {size}] (RGB, 0 to 255) -> `vectors` [B, {document.vision.dim}] of length 1, a frame by itself",
        ),
        "text": Graph(
            WordVectors(text),
            lambda ids, mask: normalize(document.text(ids, mask), dim=-1),
            {"ids": word_axes, "mask": word_axes},
            [draw.words(rows, tokens) for rows in ROWS for tokens in draw.tokens],
            f"`ids`, `mask` int64 [B, L] (mask 1 for tokens, 0 for padding) -> `vectors` [B, {document.text.dim}] of length 1: a search query",
        ),
        "document": Graph(
            DocumentVectors(document, vision, text),
            lambda *inputs: document(*inputs).fusion,
            {"frames": clip_axes, "has_vision": frame_axes, "ids": word_axes, "mask": word_axes, "has_words": frame_axes},
            [draw.documents(rows, tokens, frames) for rows in ROWS for frames, tokens in zip((positions, 1), draw.tokens)],
            f"`frames` uint8 [B, T, 3, {size}, {size}] with T = {counts}, `has_vision` bool [B], `ids`, `mask` int64 [B, L], `has_words` bool [B] -> "
            f"`vectors` [B, {document.text.dim}] of length 1: goods and clips as they are searched. Frames where `has_vision` is false, and ids and "
            "mask where `has_words` is false, may be anything; a document without both is the zero vector",
        ),
    }
    return Exports(document.vision, document.text, tokenizer, lengths, graphs)


class FrameVectors(nn.Module):
    """Frames uint8 [B, 3, S, S] -> [B, D] of length 1."""

    def __init__(self, vision: VisionEncoder) -> None:
        super().__init__()
        self.vision = vision

    def forward(self, frames: Tensor) -> Tensor:
        return normalize(self.vision(frames), dim=-1)


class WordVectors(nn.Module):
    """ids, mask [B, L] -> [B, D] of length 1."""

    def __init__(self, text: TextEncoder) -> None:
        super().__init__()
        self.text = text

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        return normalize(self.text(ids, mask), dim=-1)


class DocumentVectors(nn.Module):
    """`DocumentEncoder`'s fused vectors [B, D] without a choice of rows: everything is encoded, and the fusion does not look at what is missing."""

    def __init__(self, document: DocumentEncoder, vision: VisionEncoder, text: TextEncoder) -> None:
        super().__init__()
        self.vision, self.text = vision, text
        self.frame_integration, self.fusion = document.frame_integration, document.fusion

    def forward(self, frames: Tensor, has_vision: Tensor, ids: Tensor, mask: Tensor, has_words: Tensor) -> Tensor:
        """As `DocumentEncoder.forward`; frames [B, T or 1, 3, S, S], another number of them is an index out of bounds."""
        title = normalize(self.text(ids, mask), dim=-1)
        each = self.vision(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
        vision = normalize(self.frame_integration(self._at_positions(each)), dim=-1)
        return self.fusion(title, vision, has_text=has_words, has_vision=has_vision)

    def _at_positions(self, each: Tensor) -> Tensor:
        """[B, T or 1, D] -> [B, T, D]. T counts as a tensor here: a graph that is traced with T frames must take one image, too."""
        positions = self.frame_integration.positional_embedding.shape[1]
        given = torch.ones_like(each[0, :, 0], dtype=torch.int64).sum()
        return each[:, torch.arange(positions) * (given != 1) + given * (given > positions)]


def _traceable(tower: Tower) -> Tower:
    """A copy that computes a batch in one piece (a frozen tower computes a few frames at a time), with plain batch norm and plain attention."""
    description = {**tower.describe(), "frozen_layers": 0} | ({"batch_norm": "frozen"} if isinstance(tower, VisionEncoder) else {})
    copy = type(tower).from_description(description)
    copy.load_state_dict(tower.state_dict())
    # The exporter cannot take apart the fused attention of windows (Swin).
    copy.tower.set_attn_implementation("eager")
    return copy.eval()
