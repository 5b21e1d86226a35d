"""The vectors that an item has in one modality, its frames or its words, of which some or all may be missing.

Legend: B items, N vectors of an item, C features.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class VectorSet(NamedTuple):
    """`values` [B, N, C], zeros where a vector is missing; `present` bool [B, N]."""

    values: Tensor
    present: Tensor


def vector_set(features: Tensor, has: Tensor | None = None) -> VectorSet:
    """The features as a set, N = 1 for a single vector.

    Args:
        features: [B, C] or [B, N, C]; anything where they are missing.
        has: which are there: bool [B], [B, N], or None for all.
    """
    values = features if features.ndim == 3 else features[:, None]
    present = places_present(has, values.shape[:2], values.device)
    return VectorSet(values.where(present[..., None], 0), present)


def places_present(has: Tensor | None, shape: tuple[int, ...], device: torch.device) -> Tensor:
    """bool of `shape`; `has` may be None (all), or lack the last axis (all or none of it)."""
    if has is None:
        return torch.ones(shape, dtype=torch.bool, device=device)
    return (has.bool() if has.ndim == len(shape) else has.bool()[..., None]).expand(shape)
