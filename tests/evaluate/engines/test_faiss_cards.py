"""FAISS on cards, with cards that are the processor in disguise; tests/evaluate/test_gpu_search.py has real ones."""

from __future__ import annotations

import numpy as np
import pytest

from evaluate.engines import faiss_cards
from evaluate.engines.faiss_cards import WORKSPACE_BYTES, CardsBest, shares_of
from evaluate.engines.faiss_flat import search_arrays
from evaluate.engines.faiss_loading import load_faiss
from tests.evaluate.engines.vectors import few_values, real_values


class PretendedCard:
    """Room for `rows` documents of width `dim`; searches as a card does, on the processor, and notes what it was asked."""

    def __init__(self, rows: int, dim: int) -> None:
        self._free = WORKSPACE_BYTES + 4 * rows * dim
        self.asked: list[tuple[str, int, int]] = []

    def free_bytes(self) -> int:
        return self._free

    def nearest(self, queries: np.ndarray, docs: np.ndarray, wanted: int) -> tuple[np.ndarray, np.ndarray]:
        assert queries.dtype == docs.dtype and wanted <= 2048
        self.asked.append((queries.dtype.name, len(queries), len(docs)))
        sides = [side.astype(np.float32) for side in (queries, docs)]
        return load_faiss().knn(*sides, wanted, metric=load_faiss().METRIC_INNER_PRODUCT)


@pytest.mark.parametrize("make", [few_values, real_values])
@pytest.mark.parametrize("k", [1, 40, 700])
@pytest.mark.parametrize("rooms", [(5000,), (900, 900), (300, 0, 100)], ids=str)
def test_any_cards_find_what_the_processor_finds(make, k, rooms):
    queries, docs = make(9, 24), make(3000, 24)
    cards = [PretendedCard(rows, 24) for rows in rooms]
    best = CardsBest(queries, k, cards)

    for first in range(0, 3000, 1700):
        best.add(docs[first : first + 1700], first)

    for ours, theirs in zip(best.result(), search_arrays(queries, docs, k)):
        np.testing.assert_array_equal(ours, theirs)
    assert all(bool(card.asked) == bool(rows) for card, rows in zip(cards, rooms))
    assert all(number <= max(1700, room) for card, room in zip(cards, rooms) for _, _, number in card.asked)


def test_a_block_that_fits_is_shared_out_once_and_a_larger_one_goes_through_in_rounds():
    gigabyte = 1 << 30
    free = [WORKSPACE_BYTES + gigabyte, WORKSPACE_BYTES + 3 * gigabyte]

    # 4 GiB of room are 2 M documents of 512 float32; the second card has three quarters of it.
    assert shares_of(1000, 512, free) == [[(0, 250), (250, 1000)]]
    assert shares_of(3 << 20, 512, free) == [[(0, 1 << 19), (1 << 19, 1 << 21)], [(1 << 21, (1 << 21) + (1 << 18)), ((1 << 21) + (1 << 18), 3 << 20)]]
    assert shares_of(10, 512, [0, WORKSPACE_BYTES + gigabyte]) == [[(0, 0), (0, 10)]]
    with pytest.raises(ValueError, match=r"the cards have 0.5, 1.6 GB free, of which FAISS takes 1.6 each"):
        shares_of(10, 512, [1 << 29, WORKSPACE_BYTES])


def test_where_float16_cannot_tell_the_card_is_asked_in_float32_and_where_that_ties_the_processor_looks():
    docs = np.ones((4000, 8), np.float32) + np.arange(4000, dtype=np.float32)[:, None] * 2**-20
    tied = np.ones((4000, 8), np.float32)
    queries = np.ones((2, 8), np.float32)
    for given, expected in ((docs, np.arange(3999, 3899, -1)), (tied, np.arange(100))):
        card = PretendedCard(9000, 8)
        best = CardsBest(queries, 100, [card])

        best.add(given, 0)

        assert [dtype for dtype, _, _ in card.asked] == ["float16", "float32"]
        np.testing.assert_array_equal(best.result()[1], [expected, expected])


def test_lengths_beyond_float16_are_searched_in_float32():
    queries, docs, card = few_values(3, 8) * 300, few_values(500, 8) * 300, PretendedCard(900, 8)
    best = CardsBest(queries, 20, [card])

    best.add(docs, 0)

    assert {dtype for dtype, _, _ in card.asked} == {"float32"}
    np.testing.assert_array_equal(best.result()[1], search_arrays(queries, docs, 20)[1])


def test_more_results_than_a_card_finds_are_refused_with_the_remedy():
    with pytest.raises(ValueError, match="the best 2001: FAISS finds at most 2000 in proven order on a card; use --engine torch or --device cpu"):
        CardsBest(np.ones((1, 8)), 2001, [])


def test_rounds_and_queries_tell_how_far_a_block_is(monkeypatch):
    monkeypatch.setattr(faiss_cards, "ANSWERS_AT_ONCE", 5 * 268)  # so many candidates for the best 10: 5 queries at once
    best, told = CardsBest(few_values(9, 24), 10, [PretendedCard(500, 24)]), []

    best.add(few_values(1000, 24), 0, told.append)

    assert told == [5 / 18, 0.5, 0.5 + 5 / 18, 1, 1]
