"""Features that a frozen tower has computed before, looked up instead of computed again.

Legend: B frames, S pixels a side, C features.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import torch
from torch import Tensor


class FeatureMemory:
    """Remembers a tower's feature of every frame by the frame's bytes, up to a size; when it is full, further frames are computed each time.

    For a few thousand photos and a frozen tower: from the second time on a frame costs a hash, not a forward. Random crops are never seen
    twice, so it helps only without them. The features are those of a forward without gradient; nothing of it goes into a checkpoint.

    Args:
        megabytes: most memory that features may take.
    """

    def __init__(self, megabytes: int) -> None:
        self._left = megabytes * 2**20
        self._known: dict[bytes, Tensor] = {}

    @torch.no_grad()
    def features(self, frames: Tensor, compute: Callable[[Tensor], Tensor]) -> Tensor:
        """[B, C] for frames uint8 [B, 3, S, S]; `compute` is asked for those that are new, each once."""
        keys = [hashlib.blake2b(frame.numpy().tobytes(), digest_size=16).digest() for frame in frames.cpu()]
        places = {key: place for place, key in reversed(list(enumerate(keys))) if key not in self._known}
        fresh: dict[bytes, Tensor] = {}
        if places:
            fresh = dict(zip(places, compute(frames[list(places.values())])))
        rows = torch.stack([fresh[key] if key in fresh else self._known[key] for key in keys])
        for key, feature in fresh.items():
            size = feature.numel() * feature.element_size()
            if size <= self._left:
                self._left -= size
                self._known[key] = feature.clone()
        return rows
