"""What was retrieved for an item, and its mean weighted by similarity.

Legend: B items, k neighbours of each, N vectors of a neighbour in a modality, C features.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from models.fusion.masked_softmax import masked_softmax
from models.fusion.vector_set import VectorSet, places_present


class Neighbours(NamedTuple):
    """The k neighbours of B items; an item that has fewer has padding, which is finite and of no effect.

    similarity, labels: [B, k]. present: bool [B, k], None: all are there. vision: [B, k, T, C]; words: [B, k, D] or [B, k, L, D]; a
    modality that the network does not look at may be None. has_vision, has_words: which neighbours have it, bool [B, k] (or [B, k, T],
    [B, k, L]), None: all.
    """

    similarity: Tensor
    labels: Tensor
    present: Tensor | None = None
    vision: Tensor | None = None
    words: Tensor | None = None
    has_vision: Tensor | None = None
    has_words: Tensor | None = None

    def features(self, modality: str) -> VectorSet:
        """The mean of one modality ("vision", "words") over an item's neighbours, [B, N, C], vector by vector: first frames with first frames.

            out_n = sum_j w_jn x_jn,   w_n = softmax(similarity) over the neighbours that have an n-th vector

        Present where a neighbour has it. Source: MMRA as published; that a neighbour without the modality takes no weight is ours.
        """
        values, has = (self.vision, self.has_vision) if modality == "vision" else (self.words, self.has_words)
        if values is None:
            raise ValueError(f"the neighbours come without {modality}, which the network looks at; give them, or build it with {modality}_dim 0")
        values = values if values.ndim == 4 else values[:, :, None]
        present = places_present(has, values.shape[:3], values.device) & self._present()[..., None]
        weights = masked_softmax(self.similarity[..., None].expand(present.shape), present, dim=1)
        return VectorSet(torch.einsum("bkn,bknc->bnc", weights, values), present.any(dim=1))

    def label(self) -> VectorSet:
        """The mean of the neighbours' labels with the weights softmax(similarity), [B, 1, 1] float32. Source: MMRA as published and as released."""
        present = self._present()
        with torch.autocast(self.labels.device.type, enabled=False):  # bfloat16 has no numbers between 10 and 10.0625
            mean = (masked_softmax(self.similarity, present, dim=1) * self.labels.float()).sum(dim=1)
        return VectorSet(mean[:, None, None], present.any(dim=1, keepdim=True))

    def _present(self) -> Tensor:
        assert self.similarity.shape == self.labels.shape and self.labels.ndim == 2, (self.similarity.shape, self.labels.shape)
        return places_present(self.present, self.similarity.shape, self.similarity.device)
