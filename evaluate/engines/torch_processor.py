"""What a scan does with numbers on a processor, where NumPy compares, finds what is true and sorts several times faster than torch.

Pairs are multiplied by `evaluate/engines/pairs.py`. Legend as in `evaluate/engines/torch_card.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from evaluate.engines.keys import keys_of, merge_ragged
from evaluate.engines.pairs import pair_products
from evaluate.engines.processor import multiplies_bf16
from evaluate.engines.torch_card import Card, T, lengths_of, rounded_down

ROUNDED_AT_ONCE = 1024


class Processor(Card):
    """The processor: tiles and chunks that stay in its cache."""

    measures_fast = False
    queries_at_once, results_at_once, tile_rows = 2048, 1 << 21, 2048

    def __init__(self) -> None:
        super().__init__(torch.device("cpu"))
        self.name = "the processor"
        self._threads = torch.get_num_threads()
        self._workers = ThreadPoolExecutor(self._threads)
        self._scores: dict[torch.dtype, Tensor] = {}

    def fastest(self) -> str:
        return "bfloat16" if multiplies_bf16() else "float32"

    def shares(self, queries: int) -> list[slice]:
        step = max(1, -(-queries // self._threads))
        return [slice(first, min(first + step, queries)) for first in range(0, queries, step)]

    def each(self, parts: Sequence[T], work: Callable[[T], None]) -> None:
        list(self._workers.map(work, parts))

    def rounded(self, tile: Tensor, half: torch.dtype, measure: bool) -> tuple[Tensor, float]:
        if not measure:
            return tile.to(half), float("nan")
        # A few rows at a time stay in the cache from one step to the next.
        rounded, largest = torch.empty(tile.shape, dtype=half), 0.0
        for first in range(0, len(tile), ROUNDED_AT_ONCE):
            own = rounded[first : first + ROUNDED_AT_ONCE].copy_(tile[first : first + ROUNDED_AT_ONCE])
            largest = max(largest, float(lengths_of(own.float().sub_(tile[first : first + ROUNDED_AT_ONCE])).max()))
        return rounded, largest

    def product(self, queries: Tensor, tile: Tensor) -> Tensor:
        # One buffer for all tiles: fresh memory would be touched for the first time again and again.
        size = len(queries) * len(tile)
        if len(self._scores.get(tile.dtype, ())) < size:
            self._scores[tile.dtype] = torch.empty(size, dtype=tile.dtype)
        return torch.mm(queries, tile.T, out=self._scores[tile.dtype][:size].view(len(queries), len(tile)))

    def pieces(self, scores: Tensor, floors: np.ndarray) -> Sequence[Tensor]:
        return [scores]  # a tile is small

    def above(self, scores: Tensor, floors: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        down = rounded_down(floors, scores.dtype)
        if scores.dtype == torch.float32:
            given, ends = scores.numpy(), down.numpy()
        elif floors.min(initial=np.inf) > 0:
            # Positive halves sort as the whole numbers that their bits are, and negative ones are negative as these, too.
            given, ends = scores.view(torch.int16).numpy(), down.view(torch.int16).numpy()
        else:
            given, ends = scores.float().numpy(), down.float().numpy()
        found = np.flatnonzero(given >= ends[:, None])
        own = found // given.shape[1]
        values = scores if scores.dtype == torch.float32 else scores.view(torch.int16)
        reached = torch.from_numpy(values.numpy().ravel()[found]).view(scores.dtype)
        return torch.from_numpy(own), torch.from_numpy(found - own * given.shape[1]), reached

    def order(self, own: Tensor) -> Tensor:
        return torch.from_numpy(np.argsort(own.numpy(), kind="stable"))

    def chosen(self, columns: tuple[Tensor, ...], kept: Tensor) -> tuple[Tensor, ...]:
        return tuple(torch.from_numpy(column.numpy()[kept.numpy()]) for column in columns)

    def rank_best(self, values: Tensor, counts: Tensor, rank: int) -> np.ndarray:
        given, numbers = values.numpy(), counts.numpy()
        widest = max(rank, int(numbers.max()))
        if widest > max(rank, 4 * numbers.mean()):  # few queries have most: a table would be mostly empty
            ends = np.cumsum(numbers)
            every = (given[end - number : end] for end, number in zip(ends.tolist(), numbers.tolist()))
            return np.array([np.partition(own, len(own) - rank)[len(own) - rank] if len(own) >= rank else -np.inf for own in every], np.float32)
        table = np.full((len(numbers), widest), -np.inf, np.float32)
        table[np.arange(widest) < numbers[:, None]] = given
        table.partition(widest - rank, axis=1)
        return table[:, widest - rank].copy()

    def products(self, queries: Tensor, own: Tensor, docs: Tensor, rows: Tensor) -> Tensor:
        return torch.from_numpy(pair_products(queries.numpy(), own.numpy(), docs.numpy(), rows.numpy()))

    def merge(self, lists: Tensor, own: Tensor, rows: Tensor, products: Tensor) -> None:
        keys, counts = keys_of(products.numpy(), rows.numpy()), torch.bincount(own.long(), minlength=len(lists))
        merge_ragged(lists.numpy(), keys[self.order(own).numpy()], counts.numpy())
