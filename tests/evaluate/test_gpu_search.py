"""Searches on a real card: the lists of the processor, but for the last bit of a score. README says how to run these."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from evaluate.engines.choice import choose
from evaluate.engines.exact import Exact
from evaluate.engines.faiss_cards import CardsBest
from evaluate.engines.faiss_flat import search_arrays
from evaluate.engines.faiss_loading import load_faiss
from evaluate.engines.torch_scan import TorchBest
from tests.evaluate.engines.vectors import few_values, real_values
from tests.evaluate.slices import Rows

pytestmark = pytest.mark.gpu


@pytest.fixture
def faiss_card() -> None:
    if getattr(load_faiss(), "get_num_gpus", lambda: 0)() == 0:
        pytest.skip("this build of FAISS has no GPU in it")


@pytest.fixture(params=["float32", "float16", "bfloat16"])
def arithmetic(request: pytest.FixtureRequest) -> str:
    if request.param == "bfloat16" and torch.cuda.get_device_capability()[0] < 8:
        pytest.skip("this card has no bf16")
    return request.param


@pytest.mark.parametrize("k", [1, 100, 3000])
def test_torch_finds_what_the_processor_finds(arithmetic: str, k: int) -> None:
    queries, docs = few_values(50, 32), few_values(100_000, 32)
    best = TorchBest(queries, k, "cuda", arithmetic)

    for first in range(0, len(docs), 70_000):
        best.add(docs[first : first + 70_000], first)

    for ours, theirs in zip(best.result(), search_arrays(queries, docs, k)):
        np.testing.assert_array_equal(ours, theirs)  # whole numbers: no sum rounds


@pytest.mark.parametrize("dim", [64, 512, 2048])
def test_torch_keeps_within_its_bound(arithmetic: str, dim: int) -> None:
    queries, docs = real_values(300, dim), real_values(60_000, dim)
    best = TorchBest(queries, 200, "cuda", arithmetic)

    best.add(docs, 0)

    scores, rows = best.result()
    expected = search_arrays(queries, docs, 200)
    np.testing.assert_allclose(scores, expected[0], rtol=1e-5)
    assert (rows == expected[1]).mean() > 0.999
    exact = queries.astype(np.float64) @ docs.T.astype(np.float64)
    np.testing.assert_allclose(np.take_along_axis(exact, rows, axis=1), np.take_along_axis(exact, expected[1], axis=1), atol=1e-6)


@pytest.mark.parametrize("alike", ["a query that ties with all", "documents that halves cannot tell apart"])
def test_the_card_s_memory_does_not_depend_on_what_is_alike(arithmetic: str, alike: str) -> None:
    queries, docs = real_values(4000, 64), real_values(100_000, 64)
    if alike.startswith("a query"):
        queries[7] = 0
    else:
        queries, docs = (0.01 * side + np.eye(1, 64, dtype=np.float32) for side in (queries, docs))
    torch.cuda.reset_peak_memory_stats()
    best = TorchBest(queries, 100, "cuda", arithmetic)

    best.add(docs, 0)

    assert torch.cuda.max_memory_allocated() < 6e9
    np.testing.assert_allclose(best.result()[0], search_arrays(queries, docs, 100)[0], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("make", [few_values, real_values])
@pytest.mark.parametrize("k", [1, 100, 2000])
def test_faiss_finds_what_the_processor_finds(faiss_card: None, make, k: int) -> None:
    queries, docs = make(50, 64), make(60_000, 64)
    best = CardsBest(queries, k)

    for first in range(0, len(docs), 45_000):
        best.add(docs[first : first + 45_000], first)

    # Candidates are scored anew on the processor.
    for ours, theirs in zip(best.result(), search_arrays(queries, docs, k)):
        np.testing.assert_array_equal(ours, theirs)


def test_auto_measures_what_is_here_and_finds_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    queries, docs = few_values(2000, 512), few_values(100_000, 512)

    chosen = choose("auto", "auto", queries, 100, len(docs), docs)
    _, rows = Exact(Rows(docs))(queries[:200], 100)

    assert "which took" in chosen.why
    np.testing.assert_array_equal(rows, search_arrays(queries[:200], docs, 100)[1])
