from __future__ import annotations

import numpy as np

from evaluate.approximate.build import Wanted
from evaluate.approximate.finder import ByIndex
from evaluate.engines.exact import Exact
from evaluate.ranks import Ranks
from tests.evaluate.approximate.corpus import CLIPS, GOODS, clips_of, exact_best, goods_of, share_found, vectors


class TwoRanks(Ranks):
    """One of two processes that run one after the other; what they exchange is kept in `lists`."""

    size = 2

    def __init__(self, rank: int, lists: list[np.ndarray]) -> None:
        self.rank, self._lists = rank, lists

    def merged(self, keys: np.ndarray) -> np.ndarray:
        self._lists.append(keys)
        return np.sort(np.concatenate(self._lists, axis=1), axis=1)[:, : keys.shape[1]]


def test_lists_are_those_of_the_index_and_nearly_those_of_all_documents(corpus, lists_index, tmp_path):
    clips = vectors(CLIPS, 1000)

    find = ByIndex(Wanted(str(lists_index)), goods_of(corpus), clips_of(corpus), tmp_path, quiet=True)
    scores, rows = find(clips, 20)

    exact_scores, exact_rows = Exact(goods_of(corpus), quiet=True)(clips, 20)
    assert share_found(exact_rows, rows) >= 0.95 and find.card.factory == "IVF32,SQ8"
    same = rows == exact_rows
    np.testing.assert_array_equal(scores[same], exact_scores[same])


def test_filtered_documents_are_numbered_among_themselves(corpus, lists_index, tmp_path):
    kept = np.arange(GOODS) % 5 == 0
    clips = vectors(CLIPS, 1000)

    _, rows = ByIndex(Wanted(str(lists_index)), goods_of(corpus), clips_of(corpus), tmp_path, kept, quiet=True)(clips, 20)

    assert share_found(exact_best(clips, vectors(GOODS, 0)[kept], 20), rows) >= 0.95


def test_ranks_that_share_the_queries_find_what_one_does(corpus, lists_index, tmp_path):
    arguments = (Wanted(str(lists_index)), goods_of(corpus), clips_of(corpus), tmp_path, None)
    clips, lists = vectors(CLIPS, 1000)[:7], []

    together = [ByIndex(*arguments, TwoRanks(rank, lists), quiet=True)(clips, 20) for rank in (1, 0)][-1]

    alone = ByIndex(*arguments, quiet=True)(clips, 20)
    np.testing.assert_array_equal(together[0], alone[0])
    np.testing.assert_array_equal(together[1], alone[1])


def test_lists_that_are_deeper_than_what_was_tuned_for_or_not_full_are_told(corpus, lists_index, tmp_path):
    find = ByIndex(Wanted(str(lists_index)), goods_of(corpus), clips_of(corpus), tmp_path, quiet=True)
    full = np.zeros((4, 20), np.int64)
    short = np.where(np.arange(30) < 25, np.zeros((4, 30), np.int64), -1)

    assert find.depth_told(full) == ""
    assert find.depth_told(short) == (
        "lists of 30 are deeper than the 20 results that the index was tuned for (--top_k of its build); "
        "20 of 120 places stayed empty: what the index looks into held no more"
    )
    assert find.depth_told(short[:, 10:]) == "20 of 80 places stayed empty: what the index looks into held no more"
