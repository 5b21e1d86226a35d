from __future__ import annotations

import numpy as np

from evaluate.approximate.rerank import best_first, exact_scores
from evaluate.engines.faiss_flat import search_arrays
from tests.evaluate.approximate.corpus import CLIPS, GOODS, goods_and_clips, goods_of, vectors


def test_scores_of_candidates_are_those_of_exact_search_to_the_last_bit(corpus):
    clips, goods = vectors(CLIPS, 1000), vectors(GOODS, 0)
    scores, rows = search_arrays(clips, goods, 15)
    shuffled = np.random.default_rng(0).permuted(rows, axis=1)

    found = best_first(exact_scores(clips, shuffled, goods_of(corpus)), shuffled, 15)

    np.testing.assert_array_equal(found[0], scores)
    np.testing.assert_array_equal(found[1], rows)


def test_candidates_may_lie_in_several_dumps_and_may_be_missing(corpus, tmp_path):
    more = goods_and_clips(tmp_path / "more", seed=5, prefix="h", goods=900, clips=5)
    clips, goods = vectors(4, 7), np.concatenate([vectors(GOODS, 0), vectors(900, 5)])
    candidates = np.array([[3899, 0, -1], [3000, 3000, 2999], [-1, -1, -1], [699, 700, 3001]])

    scores = exact_scores(clips, candidates, goods_of(corpus, more))

    expected = np.where(candidates < 0, -np.inf, np.einsum("qd,qcd->qc", clips, goods[candidates]))
    np.testing.assert_allclose(scores, expected, rtol=1e-5)


def test_a_list_is_ordered_by_score_and_equal_scores_by_row():
    scores = np.array([[1.0, 2.0, 2.0, -0.0, 0.0], [5.0, 1.0, 0.5, 0.25, 9.0]], np.float32)
    rows = np.array([[7, 9, 4, 3, 2], [6, -1, 8, -1, 1]])

    best, order = best_first(scores, rows, 4)

    assert order.tolist() == [[4, 9, 7, 2], [1, 6, 8, -1]]
    assert best.tolist() == [[2, 2, 1, 0], [9, 5, 0.5, -np.inf]]
