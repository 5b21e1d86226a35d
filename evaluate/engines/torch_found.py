"""What a scan has found so far. Legend: Q queries, C candidates in all."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from evaluate.engines.torch_card import Card


class Found:
    """Candidates of Q queries, in the order of the tiles, so that the documents of a tile are scored anew while they are in the cache.

    `own` int16 [C] is the query, `rows` int32 [C] the row in the block, `values` float32 [C] the tile's score.
    """

    def __init__(self, device: Card, queries: int) -> None:
        nothing = (torch.empty(0, dtype=dtype, device=device.device) for dtype in (torch.int16, torch.int32, torch.float32))
        self._parts: list[tuple[Tensor, ...]] = [tuple(nothing)]
        self._device, self._queries, self._number = device, queries, 0

    def __len__(self) -> int:
        return self._number

    def add(self, own: Tensor, rows: Tensor, values: Tensor) -> None:
        """Take up candidates of a tile."""
        self._parts.append((own.to(torch.int16), rows.to(torch.int32), values.float()))
        self._number += len(own)

    def rank_best(self, rank: int) -> np.ndarray:
        """float32 [Q]: the score that is `rank`-th best of each query; -inf where there are fewer."""
        return self._device.rank_best(self.values[self._device.order(self.own)], self.counts(), rank)

    def keep(self, floors: np.ndarray) -> None:
        """Let go of those below the `floors` float32 [Q]."""
        self._parts = [self._device.chosen(self._together(), self.values >= self._device.put(floors)[self.own.long()])]
        self._number = len(self.own)

    @property
    def own(self) -> Tensor:
        return self._together()[0]

    @property
    def rows(self) -> Tensor:
        return self._together()[1]

    @property
    def values(self) -> Tensor:
        return self._together()[2]

    def counts(self) -> Tensor:
        """int64 [Q]: candidates of each query."""
        return torch.bincount(self.own.long(), minlength=self._queries)

    def _together(self) -> tuple[Tensor, ...]:
        if len(self._parts) != 1:
            self._parts = [tuple(torch.cat(columns) for columns in zip(*self._parts))]
        return self._parts[0]
