"""The cheapest setting of an index that reaches a recall. FAISS says what can be set (ParameterSpace) and which settings are worth
having (OperatingPoints); the cost is counted, not timed, so that an index is tuned alike on a busy and on a quiet machine.

Legend: N vectors, D width, q queries, k results, C candidates a query.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from evaluate.approximate.held_out import HeldOut
from evaluate.engines.faiss_loading import load_faiss

MOST_FACTOR = 64
MOST_CANDIDATES = 1 << 14
"""Candidates of a query that are re-ranked, at most."""
MOST_WALKED = 1 << 13
"""Vectors that a walk through a graph keeps in mind, at most."""
ERRORS_ABOVE = 2
"""Standard errors by which the queries that are tuned on have to surpass the wanted recall, so that others reach it, too."""
LITTLE, SMALL_STEPS = 0.001, 3
"""So many steps in a row that bring less recall than this, each, are the last."""
RERANK_COST = 4
"""A vector that is re-ranked costs as many bytes as so many that are scanned: it lies elsewhere, and is scored by itself."""
RESULTS_AT_ONCE = 1 << 24


class Setting(NamedTuple):
    """How an index is searched."""

    parameters: str
    """As FAISS writes it, e.g. "nprobe=32"; "" where there is nothing to set."""
    factor: int
    """Candidates re-ranked from the dump for each result; 0 = the index ranks by itself."""


def tune(index: Any, held_out: HeldOut, wanted: float, rerank: bool) -> Setting:
    """The cheapest setting of FAISS's `index` by which `held_out` surpasses the recall `wanted` by two standard errors, else that of most recall."""
    points = load_faiss().OperatingPoints()
    settings: list[Setting] = []
    found = np.inf
    for row in _settings(index, held_out, rerank):
        last, small_steps = 0.0, 0
        for setting, cost in row:
            if cost >= found:
                break
            shares = measure(index, held_out, setting)
            recall, error = float(shares.mean()), float(shares.std() / np.sqrt(len(shares)))
            surely = min(recall - ERRORS_ABOVE * error, 1.0)
            points.add(surely, cost, str(setting), len(settings))
            settings.append(setting)
            if surely >= wanted:
                found = cost
                break
            small_steps = small_steps + 1 if recall - last < LITTLE else 0
            last = recall
            if small_steps == SMALL_STEPS:
                break
    # FAISS keeps the settings that none beats in both recall and cost, by ascending recall.
    worth_it = [points.optimal_pts.at(number) for number in range(points.optimal_pts.size())]
    return settings[next((point for point in worth_it if point.perf >= wanted), worth_it[-1]).cno]


def measure(index: Any, held_out: HeldOut, setting: Setting) -> np.ndarray:
    """float64 [q]: share of each query's exact results that are found. Those among the candidates are: re-ranked, no other surpasses them."""
    apply(index, setting)
    depth = _depth(index, held_out, setting.factor)
    at_once = max(1, RESULTS_AT_ONCE // depth)
    shares = []
    for first in range(0, len(held_out.queries), at_once):
        chosen = slice(first, first + at_once)
        shares.append(held_out.recall(index.search(held_out.queries[chosen], depth)[1], chosen))
    return np.concatenate(shares)


def apply(index: Any, setting: Setting) -> None:
    """Make FAISS's `index` search by `setting`."""
    if setting.parameters:
        load_faiss().ParameterSpace().set_index_parameters(index, setting.parameters)


def _settings(index: Any, held_out: HeldOut, rerank: bool) -> Iterator[list[tuple[Setting, float]]]:
    """(setting, cost) in rows: along a row, cost and recall rise; a later row has more candidates. Cost: bytes that a query has read."""
    faiss = load_faiss()
    space = faiss.ParameterSpace()
    space.initialize(index)
    ranges = {}
    for number in range(space.parameter_ranges.size()):
        one = space.parameter_ranges.at(number)
        ranges[one.name] = [int(one.values.at(place)) for place in range(one.values.size())]
    ivf = faiss.try_extract_index_ivf(index)
    vector = 4 * index.d
    if ivf is not None and "nprobe" in ranges:
        # FAISS's own range ends before all lists, and is empty where there is one.
        doubled = [1 << doubling for doubling in range((ivf.nlist - 1).bit_length())]
        walked, values, unit = "nprobe=", _finer([*doubled, ivf.nlist]), index.ntotal / ivf.nlist * ivf.code_size
    elif "efSearch" in ranges:
        # FAISS keeps at least as many in mind as there are results.
        doublings = range(max(1, (MOST_WALKED // held_out.depth).bit_length()))
        walked, values, unit = "efSearch=", _finer([held_out.depth << doubling for doubling in doublings]), 32 * vector
    else:
        walked, values, unit = "", [0], 0.0
    inside = sorted(ranges.get("k_factor_rf", [1]))
    outside = [1 << doubling for doubling in range(MOST_FACTOR.bit_length())] if rerank else [0]
    for factor in outside:
        if factor > 1 and (held_out.k * factor > MOST_CANDIDATES or held_out.k * factor > 2 * index.ntotal):
            break
        for refined in inside:
            row = []
            for value in values:
                names = [f"{walked}{value}"] if walked else []
                names += [f"k_factor_rf={refined}"] if "k_factor_rf" in ranges else []
                candidates = held_out.k * (factor + (refined if "k_factor_rf" in ranges else 0))
                row.append((Setting(",".join(names), factor), value * unit + candidates * RERANK_COST * vector))
            yield row


def _finer(doublings: list[int]) -> list[int]:
    """`doublings` and what lies half-way between two of them."""
    return sorted({*doublings, *((one + other) // 2 for one, other in pairwise(doublings))})


def _depth(index: Any, held_out: HeldOut, factor: int) -> int:
    return min(index.ntotal, held_out.k * max(1, factor) + held_out.depth - held_out.k)
