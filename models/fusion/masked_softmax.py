"""Softmax over what is there."""

from __future__ import annotations

import torch
from torch import Tensor


def masked_softmax(scores: Tensor, present: Tensor, dim: int) -> Tensor:
    """Weights along `dim`, float32: they sum to 1 over the places that are present and are exactly 0 elsewhere; all 0 where none is present.

    Gradients stay finite in every case, and the scores of absent places are not looked at.

    Args:
        scores: any shape.
        present: bool, broadcast to the shape of `scores`.
    """
    # Not -inf: where nothing is present the softmax must stay finite.
    return scores.float().masked_fill(~present, torch.finfo(torch.float32).min).softmax(dim=dim) * present
