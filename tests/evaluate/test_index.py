from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from evaluate import index
from evaluate.index import Best, search_arrays


def brute_force(queries: np.ndarray, docs: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The slow obvious way: all scores in float64, sorted by score descending, then row."""
    scores = queries.astype(np.float64) @ docs.T.astype(np.float64)
    rows = np.array([sorted(range(len(docs)), key=lambda row: (-own[row], row))[:k] for own in scores])
    return np.take_along_axis(scores, rows, axis=1), rows


def few_values(*shape: int) -> np.ndarray:
    """Small whole numbers: sums of their products are exact, and many are equal."""
    return np.random.default_rng(sum(shape)).integers(-2, 3, shape).astype(np.float32)


@pytest.mark.parametrize("k", [1, 10, 150, 400])
def test_search_is_brute_force_with_ties_in_the_order_of_rows(k):
    queries, docs = few_values(25, 5), few_values(400, 5)

    scores, rows = search_arrays(queries, docs, k)

    expected_scores, expected_rows = brute_force(queries, docs, k)
    np.testing.assert_array_equal(rows, expected_rows)
    np.testing.assert_array_equal(scores, expected_scores)


@pytest.mark.parametrize("block_rows", [3, 37, 128, 399])
def test_the_size_of_the_blocks_does_not_show(block_rows):
    queries, docs = few_values(25, 5), few_values(400, 5)
    best = Best(queries, 30)

    for first in range(0, 400, block_rows):
        best.add(docs[first : first + block_rows], first)

    scores, rows = best.result()
    whole_scores, whole_rows = search_arrays(queries, docs, 30)
    np.testing.assert_array_equal(rows, whole_rows)
    np.testing.assert_array_equal(scores, whole_scores)


def test_many_queries_are_searched_in_pieces(monkeypatch):
    queries, docs = few_values(25, 5), few_values(400, 5)
    whole = search_arrays(queries, docs, 30)

    monkeypatch.setattr(index, "QUERIES_AT_ONCE", 7)
    monkeypatch.setattr(index, "TIE_BYTES", 4096)

    for ours, theirs in zip(search_arrays(queries, docs, 30), whole):
        np.testing.assert_array_equal(ours, theirs)


def test_documents_that_are_all_alike_come_in_the_order_of_rows():
    queries, docs = np.ones((3, 8), np.float32), np.ones((2000, 8), np.float32)
    best = Best(queries, 200)

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
    best = Best(np.array([[1.0, 0.0]]), 3)
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


class OneGPU:
    """FAISS as it looks on a machine with a GPU; its GPU search is the CPU's, counted."""

    def __init__(self) -> None:
        self.calls = 0
        self.knn = index.engine().knn
        self.METRIC_INNER_PRODUCT = index.engine().METRIC_INNER_PRODUCT

    def get_num_gpus(self) -> int:
        return 1

    def StandardGpuResources(self) -> str:
        return "resources"

    def knn_gpu(self, resources, queries, docs, k, metric):
        assert resources == "resources" and k <= 2048
        self.calls += 1
        return self.knn(queries, docs, k, metric=metric)


def test_a_gpu_is_used_where_faiss_has_one_up_to_its_longest_list(monkeypatch):
    queries, docs = few_values(3, 5), few_values(4000, 5)
    expected = [search_arrays(queries, docs, k) for k in (2047, 2048)]
    faiss = OneGPU()
    monkeypatch.setattr(index, "engine", lambda: faiss)

    shorter, calls_for_shorter = search_arrays(queries, docs, 2047), faiss.calls
    longer, calls_for_longer = search_arrays(queries, docs, 2048), faiss.calls - calls_for_shorter

    assert (calls_for_shorter, calls_for_longer) == (1, 0)
    np.testing.assert_array_equal(shorter[1], expected[0][1])
    np.testing.assert_array_equal(longer[1], expected[1][1])


def test_faiss_is_loaded_at_the_first_search_and_torch_never():
    program = """
import sys
import evaluate.search, evaluate.judged
assert "faiss" not in sys.modules
from evaluate.index import search_arrays
import numpy as np
search_arrays(np.eye(2), np.eye(2), 1)
assert "faiss" in sys.modules and "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)
