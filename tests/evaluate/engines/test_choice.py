from __future__ import annotations

import subprocess
import sys
import threading

import numpy as np
import pytest

from evaluate.engines import choice as choice_module
from evaluate.engines.ahead import read_ahead
from evaluate.engines.best import NoRoom
from evaluate.engines.choice import Choice, choose, make
from evaluate.engines.exact import Exact
from evaluate.engines.faiss_flat import FaissBest, search_arrays
from tests.evaluate.engines.vectors import real_values
from tests.evaluate.slices import Rows


class FullCard:
    def free_bytes(self) -> int:
        return 1 << 30


LARGE = 10**9
"""So many documents that the search is not a small one, whatever the queries."""


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch):
    """A function that makes the machine one with, or without, cards and bfloat16."""

    def pretend(torch_card: bool = False, faiss_cards: bool = False, bf16: bool = False) -> None:
        monkeypatch.setattr(choice_module, "_torch_sees_a_card", lambda: torch_card)
        monkeypatch.setattr(choice_module, "_faiss_sees_cards", lambda: faiss_cards)
        monkeypatch.setattr(choice_module, "multiplies_bf16", lambda: bf16)

    pretend()
    return pretend


def names(engine: str, device: str = "auto", docs: int = LARGE, k: int = 10) -> str:
    chosen = choose(engine, device, np.ones((100, 8), np.float32), k, docs, None)
    return f"{chosen.name} {chosen.device}"


def test_the_engine_asked_for_is_taken_on_a_card_where_it_sees_one(machine):
    assert [names("faiss"), names("torch"), names("torch", "cpu")] == ["faiss cpu", "torch cpu", "torch cpu"]
    machine(torch_card=True, faiss_cards=True)
    assert [names("faiss"), names("torch"), names("torch", "cpu")] == ["faiss-cards auto", "torch cuda", "torch cpu"]
    assert [names("torch", "cuda:1"), names("faiss", "cpu"), names("faiss", k=2001)] == ["torch cuda:1", "faiss cpu", "faiss cpu"]


def test_auto_takes_faiss_for_a_small_search_and_where_there_is_nothing_else(machine):
    assert str(choose("auto", "auto", np.ones((1, 8), np.float32), 1, LARGE, None)) == "FAISS on the processor (for a small search)"
    assert names("auto") == "faiss cpu"
    machine(torch_card=True, faiss_cards=True, bf16=True)
    assert [names("auto", docs=1000), names("auto"), names("auto", "cpu")] == ["faiss cpu", "torch cuda", "torch cpu"]
    machine(faiss_cards=True)
    assert [names("auto"), names("auto", k=2001)] == ["faiss-cards auto", "faiss cpu"]


def test_a_long_search_on_a_processor_is_worth_loading_torch_to_try_both(machine):
    vectors = np.ones((100, 8), np.float32)
    assert [names("auto"), names("auto", docs=2 * LARGE)] == ["faiss cpu", "torch cpu"]

    assert "s for 100 x 100 (" in str(choose("auto", "cpu", vectors, 10, 2 * LARGE, vectors))
    assert str(choose("auto", "cpu", vectors, 10, LARGE, vectors)) == (
        "FAISS on the processor (no card is seen, and the processor does not multiply bfloat16)"
    )


def test_of_several_engines_the_one_that_is_fastest_with_the_first_documents_is_taken(machine, monkeypatch):
    machine(bf16=True)
    asked = []

    def made(chosen: Choice, queries: np.ndarray, k: int):
        asked.append((chosen.name, len(queries)))
        return make(Choice("faiss"), queries, k)

    seconds = iter([0.0, 3.0, 10.0, 12.0])
    monkeypatch.setattr(choice_module, "make", made)
    monkeypatch.setattr(choice_module.time, "perf_counter", lambda: next(seconds))

    chosen = choose("auto", "auto", np.ones((2000, 8), np.float32), 5, LARGE, np.ones((33_000, 8), np.float32))

    assert str(chosen) == "FAISS on the processor (which took 2.00 s for 512 x 32768 (torch on cpu 3.00 s))"
    assert asked == [("torch", 512)] * 2 + [("faiss", 512)] * 2


def test_an_engine_that_fails_is_not_taken_and_its_error_is_said(machine, monkeypatch):
    machine(bf16=True)

    def made(chosen: Choice, queries: np.ndarray, k: int):
        if chosen.name in failing:
            raise RuntimeError("CUDA out of memory\nand more")
        return make(Choice("faiss"), queries, k)

    monkeypatch.setattr(choice_module, "make", made)
    given = ("auto", "auto", np.ones((20, 8), np.float32), 5, LARGE, np.ones((90, 8), np.float32))

    failing = ["torch"]
    assert str(choose(*given)).endswith("s for 20 x 90 (torch on cpu failed: CUDA out of memory))")
    failing = ["faiss"]
    assert str(choose(*given)).startswith("torch on cpu (which took")
    failing = ["torch", "faiss"]
    with pytest.raises(
        ValueError, match=r"no engine works here: torch on cpu failed: CUDA out of memory; FAISS on the processor failed: .*; use --device cpu"
    ):
        choose(*given)


@pytest.mark.parametrize(
    ("engine", "device", "k", "message"),
    [
        ("quick", "auto", 9, "--engine quick: choose auto, faiss or torch"),
        ("auto", "tpu", 9, "--device tpu: choose auto, cpu, cuda"),
        ("auto", "cudafoo", 9, "--device cudafoo: choose auto, cpu, cuda"),
        ("torch", "cuda", 9, "--engine torch --device cuda: no card is seen here; run launch/setup.sh"),
        ("auto", "cuda", 9, "--engine auto --device cuda: no card is seen here"),
    ],
)
def test_what_is_not_here_is_named(machine, engine, device, k, message):
    with pytest.raises(ValueError, match=message):
        names(engine, device, k=k)


def test_longer_lists_than_faiss_finds_on_a_card_are_refused_where_it_must_be_one(machine):
    machine(faiss_cards=True)
    with pytest.raises(ValueError, match="--engine faiss --top_k 2001: FAISS finds at most 2000 on a card; use --engine torch or --device cpu"):
        names("faiss", "cuda", k=2001)


def test_where_the_cards_are_full_the_processor_is_taken(machine, monkeypatch):
    machine(faiss_cards=True)
    monkeypatch.setattr(choice_module, "cards_here", lambda device: [FullCard()])
    vectors = np.ones((20, 8), np.float32)

    chosen = choose("auto", "auto", vectors, 5, LARGE, vectors)
    assert chosen.name == "faiss" and "(FAISS on its cards failed: the cards have 1.1 GB free, of which FAISS takes 1.6 each; end" in str(chosen)
    with pytest.raises(NoRoom, match=r"the cards have 1.1 GB free"):
        make(choose("faiss", "cuda", vectors, 5, LARGE, vectors), vectors, 5).add(vectors, 0)


def test_longer_lists_than_the_engine_gives_are_asked_of_another(machine, monkeypatch):
    machine(faiss_cards=True)
    monkeypatch.setattr(choice_module, "MOST_RESULTS", 20)
    monkeypatch.setattr(choice_module, "CardsBest", lambda queries, k, cards: FaissBest(queries, k))
    monkeypatch.setattr(choice_module, "cards_here", lambda device: [])
    queries, docs = real_values(9, 12), real_values(70, 12)
    find = Exact(Rows(docs), "faiss", quiet=True)

    for k in (15, 30, 10):
        np.testing.assert_array_equal(find(queries, k)[1], search_arrays(queries, docs, k)[1])
        assert find._choice.name == ("faiss-cards" if k == 15 else "faiss")


def test_a_search_is_the_same_by_either_engine_in_any_blocks(capsys):
    queries, docs = real_values(9, 12), real_values(700, 12)
    expected = search_arrays(queries, docs, 20)

    for engine, rows in (("faiss", 0), ("torch", 100), ("auto", 699)):
        find = Exact(Rows(docs), engine, "cpu", rows)
        for _ in range(2):
            for ours, theirs in zip(find(queries, 20), expected):
                np.testing.assert_array_equal(ours, theirs)

    assert capsys.readouterr().out.splitlines() == [
        "engine: FAISS on the processor (as asked for)",
        "engine: torch on cpu (as asked for)",
        "engine: FAISS on the processor (for a small search)",
    ]


def test_one_block_is_read_ahead_and_no_more():
    read, third = [], threading.Event()

    def blocks():
        for number in range(5):
            if number == 3:
                third.set()
            read.append(number)
            yield number

    coming = read_ahead(blocks())

    assert next(coming) == 0 and next(coming) == 1
    assert not third.wait(0.2) and read[-1] <= 2
    assert list(coming) == [2, 3, 4] and third.is_set()


def test_an_error_of_reading_comes_where_its_block_would_have_come():
    def blocks():
        yield 1
        raise ValueError("row 7 is not finite")

    coming = read_ahead(blocks())

    assert next(coming) == 1
    with pytest.raises(ValueError, match="row 7"):
        next(coming)


@pytest.mark.parametrize(
    ("engine", "docs", "driver", "loaded"),
    [("auto", 10**12, "", "torch faiss"), ("auto", 5, "/", "faiss"), ("faiss", 10**12, "", "faiss"), ("faiss", 10**12, "/", "torch faiss")],
)
def test_torch_is_loaded_before_faiss_where_it_may_be_used_and_not_at_all_for_a_small_search(engine, docs, driver, loaded):
    program = f"""
import sys
import numpy as np
from evaluate.engines import choice
order = []
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name in ("torch", "faiss"):
            order.append(name)
sys.meta_path.insert(0, Watch())
choice.multiplies_bf16 = lambda: True
choice.DRIVERS = tuple({[driver][: bool(driver)]})
few = np.ones((5, 8), np.float32)
choice.make(choice.choose("{engine}", "auto", few, 2, {docs}, few), few, 2).add(few, 0)
print(*order)
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)

    assert done.stdout.splitlines() == [loaded]
