from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from evaluate.engines import faiss_flat, settle
from evaluate.engines.faiss_flat import FaissBest, search_arrays
from tests.evaluate.engines.vectors import brute_force, few_values, real_values


@pytest.mark.parametrize("k", [1, 10, 150, 400])
def test_search_is_brute_force_with_ties_in_the_order_of_rows(k):
    queries, docs = few_values(25, 5), few_values(400, 5)

    scores, rows = search_arrays(queries, docs, k)

    expected_scores, expected_rows = brute_force(queries, docs, k)
    np.testing.assert_array_equal(rows, expected_rows)
    np.testing.assert_array_equal(scores, expected_scores)


@pytest.mark.parametrize("make", [few_values, real_values])
@pytest.mark.parametrize("block_rows", [3, 37, 128, 399])
def test_the_size_of_the_blocks_shows_in_no_bit(make, block_rows):
    queries, docs = make(25, 5), make(400, 5)
    best = FaissBest(queries, 30)

    for first in range(0, 400, block_rows):
        best.add(docs[first : first + block_rows], first)

    for ours, whole in zip(best.result(), search_arrays(queries, docs, 30)):
        np.testing.assert_array_equal(ours, whole)


def test_many_queries_are_searched_in_pieces(monkeypatch):
    queries, docs = few_values(25, 5), few_values(400, 5)
    whole = search_arrays(queries, docs, 30)

    monkeypatch.setattr(faiss_flat, "QUERIES_AT_ONCE", 7)
    monkeypatch.setattr(settle, "SCORES_AT_ONCE", 1024)

    for ours, theirs in zip(search_arrays(queries, docs, 30), whole):
        np.testing.assert_array_equal(ours, theirs)


def test_many_queries_tell_how_far_a_block_is(monkeypatch):
    monkeypatch.setattr(faiss_flat, "QUERIES_AT_ONCE", 10)
    best, told = FaissBest(few_values(25, 5), 30), []

    best.add(few_values(400, 5), 0, told.append)

    assert told == [0.4, 0.8, 1, 1]
    best.add(np.empty((0, 5), np.float32), 400, told.append)
    assert told[4:] == [1]


def test_documents_that_are_all_alike_come_in_the_order_of_rows():
    queries, docs = np.ones((3, 8), np.float32), np.ones((2000, 8), np.float32)
    best = FaissBest(queries, 200)

    for first in range(0, 2000, 500):
        best.add(docs[first : first + 500], first)

    scores, rows = best.result()
    np.testing.assert_array_equal(rows, np.tile(np.arange(200), (3, 1)))
    assert (scores == 8).all()


def test_real_numbers_come_as_by_brute_force_up_to_rounding():
    draw = np.random.default_rng(1)
    queries, docs = draw.standard_normal((20, 64)), draw.standard_normal((3000, 64))

    scores, rows = search_arrays(queries, docs, 120)

    expected_scores, expected_rows = brute_force(queries, docs, 120)
    np.testing.assert_allclose(scores, expected_scores, rtol=1e-5)
    assert (rows == expected_rows).mean() > 0.99


def test_a_list_is_capped_at_the_number_of_documents():
    scores, rows = search_arrays(np.eye(2, dtype=np.float32), np.eye(2, dtype=np.float32), 10)

    np.testing.assert_array_equal(rows, [[0, 1], [1, 0]])
    np.testing.assert_array_equal(scores, [[1, 0], [1, 0]])


def test_a_list_longer_than_the_documents_so_far_is_padded():
    best = FaissBest(np.array([[1.0, 0.0]]), 3)
    best.add(np.array([[-2.0, 5.0], [3.0, 0.0]], np.float32), 4)

    scores, rows = best.result()

    np.testing.assert_array_equal(rows, [[5, 4, -1]])
    np.testing.assert_array_equal(scores, [[3, -2, -np.inf]])


def test_scores_beyond_float32_and_widths_that_differ_are_refused():
    with pytest.raises(ValueError, match="too large for float32"):
        search_arrays(np.full((1, 4), 1e30), np.full((5, 4), 1e30), 2)
    with pytest.raises(ValueError, match=r"shape \[5, 3\], queries of shape \[1, 4\]"):
        search_arrays(np.ones((1, 4)), np.ones((5, 3)), 2)
    with pytest.raises(ValueError, match="the best 0 documents"):
        search_arrays(np.ones((1, 4)), np.ones((5, 4)), 0)


def test_faiss_is_loaded_at_the_first_search_and_torch_never():
    program = """
import sys
import evaluate.search, evaluate.judging.judged
assert "faiss" not in sys.modules
from evaluate.engines.exact import Exact
from evaluate.vectors import Vectors
import numpy as np
class Two(Vectors):
    name, dim, id_bytes = "two", 2, 1
    def __len__(self): return 2
    def id_blocks(self): yield np.array([b"a", b"b"])
    def blocks(self, rows_per_block=1, first=0, last=None): yield 0, np.eye(2, dtype=np.float32)
Exact(Two(), quiet=True)(np.eye(2, dtype=np.float32), 1)
assert "faiss" in sys.modules and "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)
