"""Random inputs that exported forms are traced and compared with.

Legend: B items, T frames, S pixels a side, L tokens.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from models.encoders import TextEncoder, VisionEncoder

ROWS = (2, 1, 3)
"""Rows of the batches. The first is for tracing: a tracer takes an axis of length 1 for one that never grows."""


class Draw:
    """Frames and words for two towers; the same numbers each time.

    Args:
        lengths: tokens that words are cut to, by kind of words.
    """

    def __init__(self, vision: VisionEncoder, text: TextEncoder, lengths: Mapping[str, int]) -> None:
        self.tokens = (min(max(lengths.values()), text.max_tokens or max(lengths.values())), 2)
        self._size, self._vocabulary = vision.image_size, text.vocabulary_size
        self._rng = torch.Generator().manual_seed(0)
        self._documents = 0

    def frames(self, rows: int) -> tuple[Tensor]:
        """uint8 [B, 3, S, S]."""
        return (torch.randint(256, (rows, 3, self._size, self._size), dtype=torch.uint8, generator=self._rng),)

    def words(self, rows: int, tokens: int) -> tuple[Tensor, Tensor]:
        """ids and mask, int64 [B, L], texts of 1 to L = `tokens` tokens."""
        ids = torch.randint(self._vocabulary, (rows, tokens), generator=self._rng)
        lengths = torch.randint(1, tokens + 1, (rows, 1), generator=self._rng)
        return ids, (torch.arange(tokens) < lengths).long()

    def documents(self, rows: int, tokens: int, frames: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Frames [B, T, 3, S, S], has_vision, ids, mask, has_words: by turns with both, with frames alone, with words alone, with neither."""
        seen = self.frames(rows * frames)[0].unflatten(0, (rows, frames))
        ids, mask = self.words(rows, tokens)
        turns = (torch.arange(rows) + self._documents) % 4
        self._documents += rows
        has_vision, has_words = turns < 2, turns % 2 == 0
        return seen, has_vision, ids, mask * has_words[:, None], has_words
