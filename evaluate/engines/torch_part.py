"""Some queries of a scan: their floors, the candidates found so far, and whether the floors turned out to be right.

Legend: Q queries of the part, w rows of a tile, k results a query, C candidates in all.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from evaluate.engines.keys import scores_of
from evaluate.engines.rounding import Margin
from evaluate.engines.torch_card import Card
from evaluate.engines.torch_found import Found

GUESSES_AT = (1, 4, 20, 100, 500)
"""Numbers of tiles after which the floors are raised."""
MOST_FOUND, MORE_FOUND = 3, 64
"""Candidates of a query in hand, as a multiple of the results and beyond it, before they are scored to make room."""
CROWD = 1 / 8
"""Share of a tile's pairs above the floors from which on scoring them anew costs more than half precision saves."""


class Part:
    """The queries `chosen`, rows of `lists` int64 [., k] that hold the best so far; `within` is where the scores of a tile have them.

    `crowded` becomes True, where scores are `rounded` to half, once they do not tell documents apart; nothing that follows counts then.
    """

    def __init__(
        self, device: Card, lists: Tensor, chosen: np.ndarray, within: slice, margin: Margin, k: int, guessing: bool, rounded: bool = False
    ) -> None:
        self.within, self.found, self.crowded, self._rounded = within, Found(device, len(chosen)), False, rounded
        self._device, self._all_lists, self._chosen, self._k, self._guessing = device, lists, chosen, k, guessing
        self._margin = margin.of(chosen)
        self._lists = lists[torch.from_numpy(chosen)]
        self._proven = self._floor_of_lists()
        self._floors = self._proven

    def select(self, scores: Tensor, number: int, tiles: int, enter: Callable[[Part], None]) -> None:
        """Keep what lies above the floors in `scores` [Q, w] of the tile `number` of `tiles`, and raise the floors at times.

        `enter` scores what is in hand and merges it, where a tile holds more than there is room for.
        """
        rank = self._rank((number + 1) / tiles)
        if number == 0:
            self._floors = np.maximum(self._floors, self._margin.floor_of_scores(self._device.sampled_rank(scores, rank)))
        first = 0
        for piece in self._device.pieces(scores, self._floors):
            if first and self.is_full():
                enter(self)
            own, places, values = self._device.above(piece, self._floors)
            if self._rounded and len(own) > CROWD * piece.numel():
                self.crowded = True
                return
            self.found.add(own, (places + first) * tiles + number, values)
            first += piece.shape[1]
        if number and number + 1 in GUESSES_AT and number + 1 < tiles:
            self._floors = np.maximum(self._floors, self._margin.floor_of_scores(self.found.rank_best(rank)))
        if self.is_full():
            self.prove()
            self._floors = np.maximum(self._floors, self._proven)

    def is_full(self) -> bool:
        """True where so much is in hand that it has to be scored now."""
        return len(self.found) > (MOST_FOUND * self._k + MORE_FOUND) * len(self._chosen)

    def prove(self) -> None:
        """Let go of candidates that k others are better than, for certain."""
        self._proven = np.maximum(self._proven, self._margin.floor_of_scores(self.found.rank_best(self._k)))
        self.found.keep(self._proven)

    def owners(self) -> Tensor:
        """int64 [C]: each candidate's query, as a row of all queries."""
        return self._device.put(self._chosen)[self.found.own.long()]

    def take_in(self, products: Tensor, first_row: int) -> None:
        """Merge the candidates, whose scores are `products` [C], into the lists, and begin to collect anew."""
        self._device.merge(self._lists, self.found.own, self.found.rows.long() + first_row, products)
        self.found = Found(self._device, len(self._chosen))
        self._proven = np.maximum(self._proven, self._floor_of_lists())

    def write_back(self) -> np.ndarray:
        """Put the lists where they came from, but for those queries, which are returned, whose floors were too high."""
        right = self._floors <= self._proven
        self._all_lists[torch.from_numpy(self._chosen[right])] = self._lists[torch.from_numpy(right)]
        return self._chosen[~right]

    def _floor_of_lists(self) -> np.ndarray:
        return self._margin.floor(scores_of(self._lists[:, -1].cpu().numpy()))

    def _rank(self, share: float) -> int:
        """Rank, in a `share` of the documents, of one that is very likely (when not guessing: surely) behind the k-th of all."""
        expected = share * self._k
        return min(self._k, math.ceil(expected + 4 * math.sqrt(expected) + 4)) if self._guessing and share < 1 else self._k
