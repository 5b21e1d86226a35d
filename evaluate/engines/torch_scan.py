"""Exact search by torch, on a processor or a card, in half precision where that is fast: candidates by thresholds, then float32.

A block is cut into tiles, of which tile t of T holds the rows t, t + T, t + 2 T ...: each is a fair sample of the block, however it is
ordered. A tile's products are compared with a floor for each query, and only what lies above it is kept. The floors begin as a guess: of a
share of s of the documents, the one of rank r = s k + 4 sqrt(s k) + 4 is very likely behind the k-th of all. At the block's end the guess is
proven or not: if k documents lie above it by more than the arithmetic can be off (`evaluate/engines/rounding.py`), none was left out; the
few queries where it is not proven go through the block again with floors that are proven at any time. Candidates within the bound of the
k-th are then scored anew, pair by pair, so that the result is that of float32 whatever the tiles were computed in.

Legend: Q queries of a chunk, n rows of a block, T tiles, w rows of a tile, D width, k results a query, C candidates in all.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from evaluate.engines.best import Best, NoRoom, no_lists
from evaluate.engines.rounding import HALVES, LARGEST, SHORT, Margin, half_margin, plain_margin
from evaluate.engines.torch_card import lengths_of
from evaluate.engines.torch_devices import device_for
from evaluate.engines.torch_part import Part

PAIRS_A_DOCUMENT = 4
"""Results a document from which on it pays to measure what rounding took from each, so that fewer candidates are scored anew."""


class Cut(NamedTuple):
    """A block, cut into tiles in the format of the products; `docs` are its float32 rows, and `margin` is that of all queries.

    `plain` is the same in float32, where this is not.
    """

    docs: Tensor
    first_row: int
    tiles: list[Tensor]
    queries: Tensor
    margin: Margin
    plain: Cut | None = None


class TorchBest(Best):
    """The best k by torch.

    Args:
        device: "auto" (a card where there is one), "cpu", "cuda" or "cuda:1".
        arithmetic: of the tiles: "float32", "float16", "bfloat16", or "auto" for what the device multiplies fastest.
    """

    def __init__(self, queries: np.ndarray, k: int, device: str = "auto", arithmetic: str = "auto") -> None:
        super().__init__(queries, k)
        self._device = device_for(device)
        self._arithmetic = self._device.fastest() if arithmetic == "auto" else arithmetic
        self.name = f"torch on {self._device.name} in {self._arithmetic}"
        self._plain = self._device.put(self._queries)
        self._lists = self._device.put(no_lists(len(self._queries), k))
        self.seconds: dict[str, float] = defaultdict(float)
        """Where the time went: preparing, product, selection, re-scoring, merge."""
        if self._arithmetic != "float32":
            self._rounded = self._plain.to(getattr(torch, self._arithmetic))
            self._residuals = lengths_of(self._plain - self._rounded.float()).cpu().numpy()
            self._largest = float(self._plain.abs().max()) if self._plain.numel() else 0.0

    def keys(self) -> np.ndarray:
        return self._lists.cpu().numpy()

    @torch.inference_mode()
    def _compete(self, block: np.ndarray, first_row: int) -> Iterator[float]:
        step = max(1, min(self._device.queries_at_once, self._device.results_at_once // self._k))
        try:
            with self._device.as_bounded():
                cut = self._cut(block, first_row)
                for begin in range(0, len(self._queries), step):
                    end = min(begin + step, len(self._queries))
                    self._scan(np.arange(begin, end), cut, guessing=True)
                    yield end / len(self._queries)
        except torch.cuda.OutOfMemoryError as error:
            reason = str(error).splitlines()[0]
            raise NoRoom(f"{self._device.name} is full: {reason}; end what else runs on it, or use --device cpu") from error

    def _cut(self, block: np.ndarray, first_row: int) -> Cut:
        started = time.perf_counter()
        docs, number, dim = self._device.put(block), -(-len(block) // self._device.tile_rows), block.shape[1]
        plain = [docs[tile::number] for tile in range(number)]
        longest = max(float(lengths_of(tile).max()) for tile in plain)
        self._check_lengths(longest)
        cut = Cut(docs, first_row, plain, self._plain, plain_margin(self._lengths, longest, dim))
        if self._serves(longest):
            half = self._arithmetic
            measure = self._device.measures_fast or half != "bfloat16" or len(self._queries) * self._k >= PAIRS_A_DOCUMENT * len(block)
            rounded = [self._device.rounded(tile, self._rounded.dtype, measure) for tile in plain]
            residual = max(length for _, length in rounded) if measure else HALVES[half] * longest
            margin = half_margin(self._lengths, self._residuals, longest, residual, dim, half)
            cut = Cut(docs, first_row, [tile for tile, _ in rounded], self._rounded, margin, cut)
        self._took("preparing", started)
        return cut

    def _serves(self, longest: float) -> bool:
        """Whether half precision can hold, and tell apart, scores with documents up to the length `longest`."""
        half = self._arithmetic
        if half == "float32" or self._largest > LARGEST[half]:
            return False
        return longest * max(1.0, float(self._lengths.max())) <= LARGEST[half] and longest * float(np.median(self._lengths)) >= SHORT[half]

    def _scan(self, chosen: np.ndarray, cut: Cut, guessing: bool) -> None:
        """Merge the best of a block into the lists of the queries `chosen`; without `guessing` no floor is raised without proof.

        Where half precision lets too many through to be of use, the block is looked at in float32; the lists are untouched until then.
        """
        device, queries = self._device, cut.queries[torch.from_numpy(chosen)]
        given = self._k, guessing, cut.plain is not None
        parts = [Part(device, self._lists, chosen[own], own, cut.margin, *given) for own in device.shares(len(chosen))]

        def enter(part: Part) -> None:
            self._enter(part, cut)

        for number, tile in enumerate(cut.tiles):
            started = time.perf_counter()
            scores = device.product(queries, tile)
            self._took("product", started)
            started = time.perf_counter()
            device.each(parts, lambda part, scores=scores, number=number: part.select(scores[part.within], number, len(cut.tiles), enter))  # type: ignore[misc]
            self._took("selection", started)
            if any(part.crowded for part in parts):
                assert cut.plain is not None
                return self._scan(chosen, cut.plain, guessing)
            for part in parts:
                if part.is_full():
                    self._enter(part, cut)
        started = time.perf_counter()
        device.each(parts, Part.prove)
        self._took("selection", started)
        for part in parts:
            self._enter(part, cut)
            unproven = part.write_back()
            if len(unproven):
                self._scan(unproven, cut, guessing=False)

    def _enter(self, part: Part, cut: Cut) -> None:
        """Score what a part found anew, pair by pair, and merge it into its lists."""
        started = time.perf_counter()
        products = self._device.products(self._plain, part.owners(), cut.docs, part.found.rows)
        self._took("re-scoring", started)
        started = time.perf_counter()
        part.take_in(products, cut.first_row)
        self._took("merge", started)

    def _took(self, part: str, started: float) -> None:
        self.seconds[part] += time.perf_counter() - started
