"""Building an index: a sample trains it, blocks fill it, held-out queries tune it and say how good it is.

Two builds with one seed give the same lists. A graph (HNSW) is grown by all threads at once, so it is the same only on one thread
(OMP_NUM_THREADS=1). Memory: the index, the sample (at most half of `memory`) before there are vectors in it, a block. Legend: N vectors,
D width, k results.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from evaluate.approximate.card import Card, sources_of
from evaluate.approximate.choose import POINTS_A_LIST, check_recall, choose, lists_for
from evaluate.approximate.faiss_index import in_one_line, make, trained_lists
from evaluate.approximate.folder import prepare_folder, write_folder
from evaluate.approximate.held_out import HeldOut, chosen_rows, draw_rows, hold_out, load_torch_first
from evaluate.approximate.search import IndexSearch
from evaluate.approximate.tune import tune
from evaluate.engines.faiss_loading import load_faiss
from evaluate.joined import Joined
from evaluate.vectors import Vectors
from launch.logs import progress, say
from launch.sizes import bytes_of, half_of_the_memory, in_words

AUTO = "auto"
SAMPLE_A_LIST = 64
SAMPLE_OF_CODES = 1 << 16
BLOCK_BYTES = 1 << 27


@dataclass(frozen=True)
class Wanted:
    """What an index is to be."""

    index: str = AUTO
    """A factory string of FAISS, or "auto": chosen from number, width, memory and recall."""
    memory: str = ""
    """Most that it may take, e.g. "8GB"; "" = half of this machine's."""
    recall: float = 0.95
    """Mean share of the exact results that it has to find."""
    top_k: int = 100
    """k, results of which that is the share."""
    rerank: bool = True
    """Whether candidates are re-ranked by exact scores from the dump where the index holds no whole vectors."""
    held_out: int = 1000
    """Queries to tune on and to measure with, half of them each."""
    seed: int = 0
    """Draws them and the sample that trains the index."""

    def bytes(self) -> int:
        """Most bytes that it may take. Raises ValueError where `memory` is no size."""
        return bytes_of(self.memory, "--memory") if self.memory else half_of_the_memory()


class Built(NamedTuple):
    """An index that holds its vectors and is not yet tuned."""

    index: Any
    """FAISS's."""
    factory: str
    """Its factory string."""
    why: str
    """Why it was chosen."""
    rerank: bool
    """Whether its candidates are to be re-ranked from the dump."""
    trained_on: int
    """Vectors of the sample that it was trained on."""
    seconds: float
    """That training and filling took."""


def build(docs: Joined, out: str | Path, wanted: Wanted, queries: Vectors | None = None, quiet: bool = False) -> Card:
    """Build an index of `docs` in the folder `out`; returns its card.

    Args:
        queries: vectors like those that will be searched with, to tune on and measure with; without them documents ask.

    With "auto" the candidates are built one after another until one reaches the wanted recall. An index that was asked for by its factory
    string is written whatever it reaches, which is said and is in its card.

    Raises ValueError where nothing fits the memory or reaches the recall, where there are too few vectors, where `out` cannot be written,
    for an item that two dumps hold, and for what FAISS refuses.
    """
    check_recall(wanted.recall)
    memory = wanted.bytes()
    if not len(docs):
        raise ValueError(f"{docs.name} holds no documents to index")
    prepare_folder(out)
    docs.require_distinct()
    load_torch_first(docs, wanted.held_out)
    candidates, why = _candidates(docs, wanted, memory)
    if not quiet:
        say(why)
    held_out = hold_out(docs, queries, wanted.held_out, wanted.top_k, wanted.seed, quiet)
    best = ("", 0.0)
    for factory, rerank in candidates:
        built = _fill(factory, why, rerank, docs, held_out, wanted.seed, memory, quiet)
        card = measured(built, docs, held_out, wanted, queries)
        if card.reached or wanted.index != AUTO:
            card = write_folder(out, built.index, card)
            if not quiet:
                say_card(out, card)
            return card
        best = max(best, (factory, card.recall), key=lambda pair: pair[1])
        say(f"{card.factory}: recall@{card.recall_at} {card.recall:.4f}, {wanted.recall:g} was wanted; the next kind is tried")
        del built
    raise ValueError(
        f"{docs.name}: no index within {in_words(memory)} reached recall {wanted.recall:g}; {best[0]} reached {best[1]:.4f}: give more --memory, "
        f"ask less --recall, take it as it is (--index {best[0]}), or leave --index out (exact search streams)"
    )


def add_blocks(index: Any, factory: str, docs: Joined, quiet: bool) -> None:
    """Add all of `docs` to `index`, in order."""
    with progress(total=len(docs), what=f"fill {factory}", unit="doc", quiet=quiet) as bar:
        for _, block in docs.blocks(max(1, BLOCK_BYTES // (4 * docs.dim))):
            with in_one_line(f"{factory} cannot be filled"):
                index.add(block)
            bar.update(len(block))
            del block


def measured(built: Built, docs: Joined, held_out: HeldOut, wanted: Wanted, queries: Vectors | None) -> Card:
    """The card of `built`, an index of all of `docs`, once it is tuned on one half of `held_out` and measured with the other."""
    tuned_on, checked_with = held_out.halves()
    setting = tune(built.index, tuned_on, wanted.recall, built.rerank)
    searching = IndexSearch(built.index, docs, setting, built.factory)
    start = time.perf_counter()
    _, rows = searching.best(checked_with.queries, min(checked_with.depth, len(docs)))
    elapsed = time.perf_counter() - start
    return Card(
        asked=wanted.index,
        factory=built.factory,
        why=built.why,
        parameters=setting.parameters,
        rerank_factor=setting.factor,
        number=len(docs),
        dim=docs.dim,
        checkpoint=docs.checkpoint,
        sources=sources_of(docs),
        bytes=0,
        checksum="",
        trained_on=built.trained_on,
        seed=wanted.seed,
        build_s=built.seconds,
        wanted_recall=wanted.recall,
        recall=float(checked_with.recall(rows).mean()),
        recall_at=held_out.k,
        tuned_on=len(tuned_on.queries),
        measured_on=len(checked_with.queries),
        queries="documents of its own, which find themselves too (not counted)" if queries is None else f"queries of {queries.name}",
        queries_per_s=len(rows) / elapsed,
        threads=load_faiss().omp_get_max_threads(),
        faiss=load_faiss().__version__,
    )


def say_card(out: str | Path, card: Card) -> None:
    """Tell people what was built."""
    say(
        f"{card}: recall@{card.recall_at} {card.recall:.4f} ({'at least' if card.reached else 'LESS THAN'} {card.wanted_recall:g} wanted), "
        f"{card.queries_per_s:,.0f} queries/s, {in_words(card.bytes)}, built in {card.build_s:.0f} s -> {out}"
    )


def _fill(factory: str, why: str, rerank: bool, docs: Joined, held_out: HeldOut, seed: int, memory: int, quiet: bool) -> Built:
    """The index `factory` of all of `docs`."""
    start = time.perf_counter()
    index = make(factory, docs.dim, seed)
    trained_on = 0
    if not index.is_trained:
        sample = _sample(factory, trained_lists(index), docs, seed, memory, held_out.own)
        trained_on = len(sample)
        with in_one_line(f"{docs.name}: {trained_on} of its vectors do not train {factory}"):
            index.train(sample)
        del sample
    add_blocks(index, factory, docs, quiet)
    return Built(index, factory, why, rerank, trained_on, time.perf_counter() - start)


def _candidates(docs: Joined, wanted: Wanted, memory: int) -> tuple[list[tuple[str, bool]], str]:
    """[(factory string, whether re-ranked)] in the order in which to try them, and why."""
    if wanted.index != AUTO:
        make(wanted.index, docs.dim, wanted.seed)  # a wrong string is told before hours of work
        return [(wanted.index, wanted.rerank and not _holds_vectors(wanted.index))], f"{wanted.index} was asked for"
    choice = choose(len(docs), docs.dim, memory, wanted.recall, wanted.top_k, wanted.rerank)
    return [(kind.factory, kind.rerank) for kind in choice.candidates], choice.why


def _holds_vectors(factory: str) -> bool:
    """Whether what a search by the index ends with are products of the vectors as they are."""
    return re.fullmatch(r"Flat|HNSW\d*(,Flat)?|IVF[^,]*,Flat|.*,RFlat", factory) is not None


def _sample(factory: str, lists: int, docs: Joined, seed: int, memory: int, without: np.ndarray) -> np.ndarray:
    """float32 [n, D]: rows of `docs` drawn uniformly, none of `without`."""
    there = len(docs) - len(without)
    if lists > there:
        raise ValueError(
            f"--index {factory}: {lists} lists are trained on at least as many vectors ({POINTS_A_LIST} times as many for good ones), "
            f"{docs.name} has {there} beside the held-out ones; ask for IVF{lists_for(there)}, or --index auto"
        )
    affordable = max(memory // 2 // (4 * docs.dim), lists)
    rows = draw_rows(len(docs), min(max(SAMPLE_A_LIST * lists, SAMPLE_OF_CODES), affordable, there), seed, without)
    return chosen_rows(docs, rows)
