"""Exact search by FAISS on its cards: every block is cut over all of them, in float16, and candidates are scored anew in float32.

A corpus that fits a block is one flat float16 index over all cards; a larger one goes through them block by block, the next block read from
disk meanwhile; and a block that the cards cannot hold goes through in pieces. FAISS's own sharded index would hold the documents several
times over (its issue 4502), and in one pass no document is needed twice.

Where float16 leaves it open which documents are the best k, the cards are asked again in float32, and where that does, the processor.
Legend: Q queries, n rows of a block, D width, k results a query, C candidates of a query.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np

from evaluate.engines.best import Best, NoRoom, no_lists
from evaluate.engines.device_names import number_of
from evaluate.engines.faiss_loading import load_faiss
from evaluate.engines.pairs import longest_of
from evaluate.engines.rounding import LARGEST, half_margin, plain_margin
from evaluate.engines.settle import Candidates, candidates_for, look_through, settle

MOST_CANDIDATES = 2048
"""FAISS finds no more on a card."""
MOST_RESULTS = 2000
"""Longest list for which there is room for the candidates of float32."""
HALF_SPARE = 256
ANSWERS_AT_ONCE = 1 << 23
WORKSPACE_BYTES = 3 << 29
"""What FAISS takes of a card for itself."""
ROUNDED_AT_ONCE = 4096


class FaissCard(Protocol):
    """A card as FAISS sees it."""

    def free_bytes(self) -> int:
        """Memory that nobody uses."""

    def nearest(self, queries: np.ndarray, docs: np.ndarray, wanted: int) -> tuple[np.ndarray, np.ndarray]:
        """(scores float32 [Q, C], rows int64 [Q, C]) of the best C = `wanted` of `docs` [n, D], best first; both sides float16 or float32."""


class GpuCard:
    """A card that FAISS has been built for."""

    def __init__(self, number: int) -> None:
        self._number, self._resources = number, load_faiss().StandardGpuResources()

    def free_bytes(self) -> int:
        import torch  # FAISS does not say; on a machine with cards torch is loaded before it

        return torch.cuda.mem_get_info(self._number)[0]

    def nearest(self, queries: np.ndarray, docs: np.ndarray, wanted: int) -> tuple[np.ndarray, np.ndarray]:
        faiss = load_faiss()
        return faiss.knn_gpu(self._resources, queries, docs, wanted, metric=faiss.METRIC_INNER_PRODUCT, device=self._number)


def cards_here(device: str = "auto") -> list[FaissCard]:
    """All cards; in a job that of this rank; the one that `device` names, as "cuda:1" does. Raises ValueError for one that is not there."""
    number = load_faiss().get_num_gpus()
    named = number_of(device, number, "FAISS")
    if named is not None:
        return [GpuCard(named)]
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return [GpuCard(int(os.environ.get("LOCAL_RANK", "0")) % number)]
    return [GpuCard(card) for card in range(number)]


def shares_of(rows: int, dim: int, free_bytes: Sequence[int]) -> list[list[tuple[int, int]]]:
    """Rounds of (first, last) a card: how `rows` documents in float32 (they may be asked for again) go through cards with `free_bytes` each.

    One round where all fit, in shares of the size of the cards' memory; else as many as it takes. Raises NoRoom where no card has room.
    """
    room = [max(0, free - WORKSPACE_BYTES) // (4 * dim) for free in free_bytes]
    if not sum(room):
        free = ", ".join(f"{free / 1e9:.1f}" for free in free_bytes)
        needs = f"of which FAISS takes {WORKSPACE_BYTES / 1e9:.1f} each"
        raise NoRoom(f"the cards have {free} GB free, {needs}; end what else runs on them, or use --device cpu")
    rounds = []
    for first in range(0, rows, sum(room)):
        number = min(sum(room), rows - first)
        edges = first + np.cumsum([0, *room]) * number // sum(room)
        rounds.append(list(zip(edges[:-1].tolist(), edges[1:].tolist())))
    return rounds


class CardsBest(Best):
    """The best k, up to MOST_RESULTS of them, by FAISS on `cards` (default: those here)."""

    name = "FAISS on its cards"

    def __init__(self, queries: np.ndarray, k: int, cards: Sequence[FaissCard] | None = None) -> None:
        super().__init__(queries, k)
        if k > MOST_RESULTS:
            raise ValueError(f"the best {k}: FAISS finds at most {MOST_RESULTS} in proven order on a card; use --engine torch or --device cpu")
        self._keys = no_lists(len(self._queries), k)
        self._cards = list(cards) if cards is not None else cards_here()
        self._threads = ThreadPoolExecutor(len(self._cards))
        self._free = [card.free_bytes() for card in self._cards]
        # Numbers beyond float16 become infinite; queries or documents of such lengths are searched in float32.
        with np.errstate(over="ignore"):
            self._rounded = self._queries.astype(np.float16)
        self._residuals = np.linalg.norm(self._queries - self._rounded, axis=1)

    def keys(self) -> np.ndarray:
        return self._keys

    def _compete(self, block: np.ndarray, first_row: int) -> Iterator[float]:
        self._check_lengths(longest_of(block))
        rounds = shares_of(len(block), block.shape[1], self._free)
        for number, bounds in enumerate(rounds):
            shares = list(self._threads.map(lambda card, edges: Share(card, block, first_row, *edges), self._cards, bounds))
            shares = [share for share in shares if len(share.docs)]
            step = max(1, ANSWERS_AT_ONCE // sum(self._asked(share) for share in shares))
            for begin in range(0, len(self._queries), step):
                chosen = slice(begin, begin + step)
                for share, found in zip(shares, self._threads.map(lambda share, chosen=chosen: self._in_half(share, chosen), shares)):  # type: ignore[misc]
                    self._take_in(share, found, chosen)
                yield (number + min(1.0, chosen.stop / len(self._queries))) / len(rounds)

    def _in_half(self, share: Share, chosen: slice) -> Candidates:
        """The best of a share by float16, or by float32 where lengths are beyond float16."""
        dim, longest = share.docs.shape[1], max(share.longest, share.longest * float(self._lengths.max()), float(self._lengths.max()))
        if longest > LARGEST["float16"]:
            return self._in_full(share, self._queries[chosen], self._lengths[chosen])
        margin = half_margin(self._lengths[chosen], self._residuals[chosen], share.longest, share.residual, dim, "float16")
        return Candidates(*share.card.nearest(self._rounded[chosen], share.rounded, self._asked(share)), margin)

    def _asked(self, share: Share) -> int:
        """Candidates a query: float16 decides about fewer documents than float32 does of those around the k-th, so some more are asked for."""
        return min(self._k + HALF_SPARE + self._k // 4, len(share.docs), MOST_CANDIDATES)

    def _in_full(self, share: Share, queries: np.ndarray, lengths: np.ndarray) -> Candidates:
        margin = plain_margin(lengths, share.longest, share.docs.shape[1])
        return Candidates(*share.card.nearest(queries, share.docs, candidates_for(self._k, len(share.docs))), margin)

    def _take_in(self, share: Share, found: Candidates, chosen: slice) -> None:
        lists, queries, lengths = self._keys[chosen], self._queries[chosen], self._lengths[chosen]
        open_ = settle(lists, found, queries, share.docs, share.first_row)
        if not len(open_):
            return
        again = lists[open_]
        unsure = settle(again, self._in_full(share, queries[open_], lengths[open_]), queries[open_], share.docs, share.first_row)
        look_through(again, unsure, queries[open_], share.docs, share.first_row, plain_margin(lengths[open_], share.longest, queries.shape[1]))
        lists[open_] = again


class Share:
    """A card's part of a block: its documents in float32, which stay on the host, and in float16."""

    def __init__(self, card: FaissCard, block: np.ndarray, first_row: int, first: int, last: int) -> None:
        self.card, self.docs, self.first_row = card, block[first:last], first_row + first
        self.longest = longest_of(self.docs) if len(self.docs) else 0.0
        self.rounded, self.residual = np.empty(self.docs.shape, np.float16), 0.0
        for begin in range(0, len(self.docs), ROUNDED_AT_ONCE):
            rows = slice(begin, begin + ROUNDED_AT_ONCE)
            with np.errstate(over="ignore"):  # see CardsBest
                self.rounded[rows] = self.docs[rows]
            self.residual = max(self.residual, longest_of(self.docs[rows] - self.rounded[rows]))
