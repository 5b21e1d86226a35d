"""What a scan does with numbers on a card: products, what lies above a floor, ranks, pairs, merging; all of it torch's.

Legend: Q queries of a chunk, w rows of a tile, D width, k results a query, C candidates in all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

T = TypeVar("T")
PAIRS_AT_ONCE = 1 << 16
MOST_ABOVE = 1 << 25
"""Pairs of a tile that are taken up at once, some 100 bytes each."""


def lengths_of(rows: Tensor) -> Tensor:
    """float32 [n]: the lengths of `rows` float32 [n, D]."""
    return torch.linalg.vector_norm(rows, dim=1)


def rounded_down(floors: np.ndarray, dtype: torch.dtype) -> Tensor:
    """`floors` float32 [Q] in the format `dtype`, each the largest number there that is not above it."""
    if dtype == torch.float32:
        return torch.from_numpy(floors)
    if dtype == torch.float16:
        with np.errstate(over="ignore"):
            halves = floors.astype(np.float16)
        return torch.from_numpy(np.where(halves > floors, np.nextafter(halves, np.float16(-np.inf)), halves))
    # A bfloat16 is the upper half of a float32. Cutting brings a negative number up, and the next one in size is down again.
    bits = floors.view(np.int32)
    upper = bits & np.int32(-0x10000)
    upper += np.where((bits < 0) & (upper != bits), np.int32(0x10000), np.int32(0))
    return torch.from_numpy(upper.view(np.float32)).to(torch.bfloat16)


class Card:
    """A CUDA card (or, in tests, any torch device)."""

    measures_fast = True
    """Whether lengths of residuals cost next to nothing."""
    queries_at_once, results_at_once, tile_rows = 8192, 1 << 24, 32768

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.name = f"{torch.cuda.get_device_name(device)} ({device})" if device.type == "cuda" else str(device)

    def fastest(self) -> str:
        """The format whose products are fastest: bfloat16 from compute capability 8.0 on, float16 on 7.x (V100), else float32."""
        capability = torch.cuda.get_device_capability(self.device)
        return "bfloat16" if capability >= (8, 0) else "float16" if capability >= (7, 0) else "float32"

    @contextmanager
    def as_bounded(self) -> Iterator[None]:
        """While it lasts, products are summed in float32 as `evaluate/engines/rounding.py` says: no TF32, no partial sums in half."""
        precision, backend = torch.get_float32_matmul_precision(), torch.backends.cuda.matmul
        names = ("allow_fp16_reduced_precision_reduction", "allow_bf16_reduced_precision_reduction")
        before = [getattr(backend, name) for name in names]
        torch.set_float32_matmul_precision("highest")
        for name in names:
            setattr(backend, name, False)
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(precision)
            for name, value in zip(names, before):
                setattr(backend, name, value)

    def put(self, array: np.ndarray) -> Tensor:
        """`array` on this device."""
        return torch.from_numpy(array).to(self.device)

    def shares(self, queries: int) -> list[slice]:
        """The queries of a chunk, cut into what `each` works on."""
        return [slice(0, queries)]

    def each(self, parts: Sequence[T], work: Callable[[T], None]) -> None:
        """Do `work` on all `parts`, side by side where that helps."""
        for part in parts:
            work(part)

    def rounded(self, tile: Tensor, half: torch.dtype, measure: bool) -> tuple[Tensor, float]:
        """(`tile` float32 [w, D] in half precision, length of the longest residual; nan where it is not measured)."""
        rounded = tile.to(half)
        return rounded, float(lengths_of(rounded.float().sub_(tile)).max()) if measure else float("nan")

    def product(self, queries: Tensor, tile: Tensor) -> Tensor:
        """[Q, w]: the scores of a tile, in its format."""
        return queries @ tile.T

    def pieces(self, scores: Tensor, floors: np.ndarray) -> Sequence[Tensor]:
        """`scores` [Q, w], cut between documents where too many lie above the `floors` to be taken up at once."""
        reached = int((scores >= rounded_down(floors, scores.dtype).to(self.device)[:, None]).sum())
        return [scores] if reached <= MOST_ABOVE else scores.split(max(1, MOST_ABOVE // len(scores)), dim=1)

    def above(self, scores: Tensor, floors: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        """(own int64 [c], places int64 [c], scores [c]): where `scores` [Q, w] are at least the query's floor, ordered by query."""
        own, places = (scores >= rounded_down(floors, scores.dtype).to(self.device)[:, None]).nonzero(as_tuple=True)
        return own, places, scores[own, places]

    def sampled_rank(self, scores: Tensor, rank: int) -> np.ndarray:
        """float32 [Q]: a number that at least `rank` of each row of `scores` [Q, w] reach, and not many more; -inf where w < rank."""
        width = max(1, scores.shape[1] // (4 * rank))
        groups = scores.shape[1] // width
        if groups < rank:
            return np.full(len(scores), -np.inf, np.float32)
        best = scores[:, : groups * width].float().reshape(len(scores), groups, width).amax(dim=2)
        return best.topk(rank, dim=1).values[:, -1].cpu().numpy()

    def order(self, own: Tensor) -> Tensor:
        """int64 [C]: a stable order by query."""
        return torch.argsort(own, stable=True)

    def chosen(self, columns: tuple[Tensor, ...], kept: Tensor) -> tuple[Tensor, ...]:
        """The `columns` [C] where `kept` bool [C] is true."""
        return tuple(column[kept] for column in columns)

    def rank_best(self, values: Tensor, counts: Tensor, rank: int) -> np.ndarray:
        """float32 [Q]: the `rank`-th best of each query's `counts[q]` of `values` [C]; -inf where there are fewer."""
        # Sorted by value, then by query: one with most of all candidates takes no more room than they do.
        order = torch.argsort(values, descending=True)
        own = torch.repeat_interleave(torch.arange(len(counts), device=values.device), counts)[order]
        ordered = values[order[torch.argsort(own, stable=True)]]
        there = counts >= rank
        best = torch.full((len(counts),), -torch.inf, device=values.device)
        best[there] = ordered[(counts.cumsum(0) - counts)[there] + rank - 1]
        return best.cpu().numpy()

    def products(self, queries: Tensor, own: Tensor, docs: Tensor, rows: Tensor) -> Tensor:
        """float32 [C]: of queries[own[i]] and docs[rows[i]], summed in float64: the same, whatever the order, but once in some ten million."""
        found = torch.empty(len(own), device=queries.device)
        for first in range(0, len(own), PAIRS_AT_ONCE):
            chosen = slice(first, first + PAIRS_AT_ONCE)
            found[chosen] = (queries[own[chosen]].double() * docs[rows[chosen].long()]).sum(dim=1).float()
        return found

    def merge(self, lists: Tensor, own: Tensor, rows: Tensor, products: Tensor) -> None:
        """Merge the documents `rows` int64 [C] of the queries `own` [C], in any order, with their `products` [C], into `lists` int64 [Q, k]."""
        bits = (products + 0.0).view(torch.int32)
        ascending = bits ^ ((bits >> 31) & 0x7FFFFFFF)
        k = lists.shape[1]
        keys = torch.cat([lists.flatten(), (~ascending).long() << 32 | rows])
        owners = torch.cat([torch.arange(len(lists), dtype=own.dtype, device=own.device).repeat_interleave(k), own])
        # By key, then by query; the first k of each are its list.
        keys, order = keys.sort()
        owners, grouped = owners[order].sort(stable=True)
        starts = torch.searchsorted(owners, torch.arange(len(lists), dtype=own.dtype, device=own.device))
        lists[:] = keys[grouped][starts[:, None] + torch.arange(k, device=lists.device)]
