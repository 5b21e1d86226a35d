"""Features that a frozen tower has computed before, looked up instead of computed again.

Legend: B inputs, C features.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import torch
from torch import Tensor


class FeatureMemory:
    """Remembers a tower's feature of every input by the input's bytes, up to a size; when it is full, further inputs are computed each time.

    For a few thousand photos and texts and a frozen tower: from the second time on an input costs a hash, not a forward. Random crops are
    never seen twice, so it helps only without them. The features are those of a forward without gradient; nothing of it goes into a
    checkpoint.

    Args:
        megabytes: most memory that features may take.
    """

    def __init__(self, megabytes: int) -> None:
        self._left = megabytes * 2**20
        self._known: dict[bytes, Tensor] = {}

    @torch.no_grad()
    def features(self, inputs: list[Tensor], compute: Callable[[list[int]], Tensor]) -> Tensor:
        """[B, C] for B inputs (tensors of any shape); `compute` is asked for the places of those that are new, each once, and gives [n, C]."""
        keys = [hashlib.blake2b(one.cpu().contiguous().numpy().tobytes(), digest_size=16).digest() for one in inputs]
        places = {key: place for place, key in reversed(list(enumerate(keys))) if key not in self._known}
        fresh: dict[bytes, Tensor] = {}
        if places:
            fresh = dict(zip(places, compute(list(places.values()))))
        rows = torch.stack([fresh[key] if key in fresh else self._known[key] for key in keys])
        for key, feature in fresh.items():
            size = feature.numel() * feature.element_size()
            if size <= self._left:
                self._left -= size
                self._known[key] = feature.clone()
        return rows
