from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from evaluate.engines import torch_card, torch_part
from evaluate.engines.best import NoRoom
from evaluate.engines.faiss_flat import search_arrays
from evaluate.engines.torch_card import Card, rounded_down
from evaluate.engines.torch_devices import device_for
from evaluate.engines.torch_found import Found
from evaluate.engines.torch_part import Part
from evaluate.engines.torch_processor import Processor
from evaluate.engines.torch_scan import TorchBest
from tests.evaluate.engines.vectors import few_values, real_values

ARITHMETIC = ["float32", "bfloat16", "float16"]
SIZES = [(25, 400, 5, 1), (25, 400, 5, 400), (40, 9000, 24, 10), (40, 9000, 24, 300), (7, 9000, 33, 3000)]


def searched(queries: np.ndarray, docs: np.ndarray, k: int, arithmetic: str, block_rows: int, device: Card) -> TorchBest:
    best = TorchBest(queries, k, "cpu", arithmetic)
    best._device = device
    for first in range(0, len(docs), block_rows):
        best.add(docs[first : first + block_rows], first)
    return best


@pytest.mark.parametrize("make", [few_values, real_values])
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("arithmetic", ARITHMETIC)
def test_lists_are_those_of_faiss_to_the_last_bit(make, size, arithmetic):
    *shape, k = size
    queries, docs = make(shape[0], shape[2]), make(*shape[1:])
    scores, rows = search_arrays(queries, docs, k)

    for block_rows in (len(docs), 3000):
        found = searched(queries, docs, k, arithmetic, block_rows, Processor()).result()

        np.testing.assert_array_equal(found[1], rows)
        np.testing.assert_array_equal(found[0], scores)


@pytest.mark.parametrize("arithmetic", ARITHMETIC)
def test_what_a_card_does_gives_the_same_lists_up_to_the_last_bit(arithmetic):
    queries, docs = few_values(40, 24), few_values(9000, 24)
    card = Card(torch.device("cpu"))
    card.tile_rows = 2048  # type: ignore[misc]

    for k in (10, 300):
        scores, rows = searched(queries, docs, k, arithmetic, 5000, card).result()

        # Whole numbers: no order of a sum rounds.
        expected = search_arrays(queries, docs, k)
        np.testing.assert_array_equal(rows, expected[1])
        np.testing.assert_array_equal(scores, expected[0])
    real = searched(real_values(9, 24), real_values(9000, 24), 50, arithmetic, 5000, card).result()
    np.testing.assert_allclose(real[0], search_arrays(real_values(9, 24), real_values(9000, 24), 50)[0], rtol=1e-6)


def test_few_candidates_are_scored_anew(monkeypatch):
    queries, docs = real_values(200, 64), real_values(40_000, 64)
    scored = []
    products = Processor.products
    monkeypatch.setattr(Processor, "products", lambda self, *sides: scored.append(len(sides[1])) or products(self, *sides))

    searched(queries, docs, 100, "float32", len(docs), Processor())
    searched(queries, docs, 100, "bfloat16", len(docs), Processor())

    # 20,000 results of 8,000,000 pairs.
    assert 20_000 <= scored[0] < 20_200 and scored[0] < scored[1] < 60_000


def test_a_guess_that_was_too_high_is_made_good(monkeypatch):
    queries, docs = real_values(30, 16), real_values(20_000, 16)
    expected = search_arrays(queries, docs, 40)
    lost = []
    write_back = Part.write_back

    def counted(self: Part) -> np.ndarray:
        lost.append(write_back(self))
        return lost[-1]

    monkeypatch.setattr(Part, "_rank", lambda self, share: 1 if self._guessing and share < 1 else self._k)
    monkeypatch.setattr(Part, "write_back", counted)

    found = searched(queries, docs, 40, "float32", len(docs), Processor()).result()

    assert sum(len(queries) for queries in lost) == 30  # the best of a tenth of the documents is behind few of the best 40 of all
    np.testing.assert_array_equal(found[1], expected[1])
    np.testing.assert_array_equal(found[0], expected[0])


@pytest.mark.parametrize("device", [Processor(), Card(torch.device("cpu"))], ids=["processor", "card"])
def test_documents_that_are_all_alike_are_scored_as_they_come_and_come_in_the_order_of_rows(device, monkeypatch):
    queries, docs = np.ones((3, 8), np.float32), np.ones((6000, 8), np.float32)
    most = []
    is_full = Part.is_full
    monkeypatch.setattr(Part, "is_full", lambda self: most.append(len(self.found)) or is_full(self))
    monkeypatch.setattr(device, "tile_rows", 1000)

    scores, rows = searched(queries, docs, 200, "bfloat16", 6000, device).result()

    np.testing.assert_array_equal(rows, np.tile(np.arange(200), (3, 1)))
    assert (scores == 8).all()
    assert max(most) <= 3 * (torch_part.MOST_FOUND * 200 + torch_part.MORE_FOUND + 1000)


def test_many_queries_tell_how_far_a_block_is(monkeypatch):
    monkeypatch.setattr(Processor, "queries_at_once", 10)
    best, told = TorchBest(real_values(25, 5), 30, "cpu"), []

    best.add(real_values(400, 5), 0, told.append)

    assert told == [0.4, 0.8, 1, 1]


def test_lengths_beyond_float16_are_searched_in_float32_and_beyond_that_refused():
    queries, docs = few_values(5, 7) * 1e3, few_values(300, 7) * 1e4

    found = searched(queries, docs, 20, "float16", 300, Processor()).result()

    np.testing.assert_array_equal(found[1], search_arrays(queries, docs, 20)[1])
    with pytest.raises(ValueError, match="too large for float32"):
        searched(queries * 1e20, docs * 1e20, 20, "float32", 300, Processor())


@pytest.mark.parametrize("device", [Processor(), Card(torch.device("cpu"))], ids=["processor", "card"])
def test_ranks_of_what_was_found(device):
    found = Found(device, 3)
    assert found.rank_best(2).tolist() == [-np.inf] * 3
    for values in ([5, 1, 7], [6, 2, 0], [9, 3, 8]):
        found.add(torch.tensor([0, 0, 2]), torch.tensor([4, 5, 6]), torch.tensor(values, dtype=torch.bfloat16))

    assert found.rank_best(2).tolist() == [6, -np.inf, 7]
    assert found.rank_best(4).tolist() == [3, -np.inf, -np.inf]
    found.keep(np.array([6, 0, 1], np.float32))
    assert (found.own.tolist(), found.values.tolist(), found.counts().tolist()) == ([2, 0, 0, 2], [7, 6, 9, 8], [2, 0, 2])
    # One query with nearly everything goes another way on the processor.
    crowd = torch.arange(60) % 50
    assert device.rank_best(crowd.float(), torch.tensor([1, 0, 58, 0, 0, 0, 1]), 3).tolist() == [-np.inf, -np.inf, 47, *[-np.inf] * 4]


@pytest.mark.parametrize("device", [Processor(), Card(torch.device("cpu"))], ids=["processor", "card"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("low", [0.3, -0.3])
def test_nothing_above_a_floor_is_missed_where_floors_fall_between_two_halves(device, dtype, low):
    scores = torch.randn(40, 300, generator=torch.Generator().manual_seed(0)).to(dtype)
    floors = (low + np.linspace(0, 0.01, 40)).astype(np.float32)

    own, places, values = device.above(scores, floors)

    wanted = scores.float().numpy() >= floors[:, None]
    got = np.zeros_like(wanted)
    got[own.numpy(), places.numpy()] = True
    assert (got | ~wanted).all() and got.sum() <= wanted.sum() + 40
    assert torch.equal(values, scores[own, places])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_a_floor_becomes_the_next_half_below(dtype):
    floors = np.array([1, 1.0001, -1, -1.0001, 0, -np.inf, 1e-30, -1e-30], np.float32)

    down = rounded_down(floors, dtype)

    assert down.dtype == dtype and (down.float().numpy() <= floors).all()
    assert (torch.nextafter(down, torch.full_like(down, torch.inf)).float().numpy() > floors)[:5].all()
    assert down[[0, 1, 2, 4, 5]].tolist() == [1, 1, -1, 0, -np.inf]


def test_products_are_full_float32_while_a_search_lasts_and_only_then():
    torch.set_float32_matmul_precision("medium")
    try:
        with Processor().as_bounded():
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")


def test_a_device_that_is_not_here_is_named():
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="--device cuda: torch sees no GPU here"):
            device_for("cuda")
    with pytest.raises(ValueError, match="--device tpu: choose auto, cpu, cuda, or one"):
        device_for("tpu")


@pytest.mark.parametrize("length", [1e-4, 1e-3, 3e-3, 0.02, 0.03])
@pytest.mark.parametrize("device", [Processor(), Card(torch.device("cpu"))], ids=["processor", "card"])
def test_vectors_so_short_that_halves_hold_no_score_are_found_all_the_same(device, length):
    random = np.random.default_rng(0)
    queries, docs = (length * side / np.linalg.norm(side, axis=1, keepdims=True) for side in (random.standard_normal((n, 32)) for n in (40, 6000)))
    queries[3:9] *= 1e-3  # some even shorter than the others

    scores, rows = searched(queries.astype(np.float32), docs.astype(np.float32), 20, "float16", 3000, device).result()

    expected = search_arrays(queries, docs, 20)
    np.testing.assert_allclose(scores, expected[0], rtol=1e-5)
    assert (rows == expected[1]).mean() > 0.995  # a card's last bits differ


@pytest.mark.parametrize("device", [Processor(), Card(torch.device("cpu"))], ids=["processor", "card"])
@pytest.mark.parametrize(("arithmetic", "spread"), [("bfloat16", 0.1), ("float16", 0.01)])
def test_documents_that_halves_cannot_tell_apart_are_looked_at_in_float32(device, arithmetic, spread, monkeypatch):
    queries, docs = (spread * real_values(rows, 32) + np.eye(1, 32, dtype=np.float32) for rows in (30, 9000))
    scored = []
    products = type(device).products
    monkeypatch.setattr(type(device), "products", lambda self, *given: scored.append(len(given[1])) or products(self, *given))

    scores, _ = searched(queries, docs, 20, arithmetic, 9000, device).result()

    np.testing.assert_allclose(scores, search_arrays(queries, docs, 20)[0], rtol=1e-6)
    assert sum(scored) < 30 * 9000 / 8


@pytest.mark.parametrize("arithmetic", ARITHMETIC)
def test_a_card_takes_up_no_more_pairs_at_once_than_it_has_room_for(arithmetic, monkeypatch):
    monkeypatch.setattr(torch_card, "MOST_ABOVE", 600)
    monkeypatch.setattr(torch_part, "CROWD", 1.0)
    queries, docs = few_values(30, 5), few_values(3000, 5)
    queries[7] = 0  # ties with everything
    taken = []
    add = Found.add
    monkeypatch.setattr(Found, "add", lambda self, own, *given: taken.append(len(own)) or add(self, own, *given))

    found = searched(queries, docs, 10, arithmetic, 3000, Card(torch.device("cpu"))).result()

    for ours, theirs in zip(found, search_arrays(queries, docs, 10)):
        np.testing.assert_array_equal(ours, theirs)
    assert len(taken) > 5 and max(taken) <= 600


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc, which this system lacks")
def test_a_query_that_ties_with_all_documents_takes_no_more_memory_on_a_card_than_they_do():
    program = """
import numpy as np, torch
from evaluate.engines import torch_scan
from evaluate.engines.torch_card import Card
torch_scan.device_for = lambda name: Card(torch.device("cpu"))
random = np.random.default_rng(0)
queries, docs = (random.standard_normal((rows, 8), np.float32) for rows in (600, 40_000))
for _ in range(2):
    best = torch_scan.TorchBest(queries, 10, arithmetic="float32")
    best.add(docs, 0)
    print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
    queries[0] = 0
assert (best.result()[1][0] == np.arange(10)).all()
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)

    without, with_one = map(int, done.stdout.split())
    assert with_one - without < 60 * 1024  # a table as wide as the longest list for each query: 670 MB


def test_a_card_without_room_is_said_in_a_line(monkeypatch):
    def full(*_: object) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB.\nAnd advice")

    monkeypatch.setattr(Processor, "product", full)

    with pytest.raises(NoRoom, match=r"the processor is full: CUDA out of memory. Tried to allocate 20 GiB.; end what else runs on it"):
        TorchBest(few_values(2, 5), 1, "cpu").add(few_values(9, 5), 0)
