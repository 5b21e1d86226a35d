from __future__ import annotations

import itertools
import statistics

import numpy as np
import pytest

from evaluate.judging import resample
from evaluate.judging.per_query import PerQuery
from evaluate.judging.resample import bootstrap, bootstrap_difference, randomisation_test
from launch.seeds import generator


def values_of(queries: int, seed: int = 0, depth: int = 20) -> PerQuery:
    """Two metrics and a first rank (21: nothing found) for each of `queries` queries."""
    draw = np.random.default_rng(seed)
    values = np.stack([draw.random(queries), draw.integers(0, 2, queries)], axis=1).astype(float)
    return PerQuery(np.arange(queries), ("map", "hit@1"), values, draw.integers(1, depth + 2, queries), depth)


def slow_intervals(a: PerQuery, b: PerQuery | None, resamples: int, seed: int) -> dict[str, list[float]]:
    """The slow obvious twin: queries drawn one resample at a time, means and medians of Python lists."""
    number = len(a.rows)
    drawn = generator("bootstrap", seed).integers(0, number, (resamples, number)).tolist()

    def statistic(side: PerQuery, chosen: list[int], name: str) -> float:
        if name == "median_rank":
            return statistics.median(side.first[chosen].tolist())
        return statistics.fmean(side.column(name)[chosen].tolist())

    found = {}
    for name in (*a.names, "median_rank"):
        seen = [statistic(a, chosen, name) if b is None else statistic(b, chosen, name) - statistic(a, chosen, name) for chosen in drawn]
        found[name] = [float(np.quantile(seen, share)) for share in (0.025, 0.975)]
    return found


@pytest.mark.parametrize("queries", [1, 2, 31, 60])
@pytest.mark.parametrize("block_bytes", [1, 4000, 1 << 25])
def test_intervals_are_those_of_drawing_queries_one_resample_at_a_time(monkeypatch, queries, block_bytes):
    monkeypatch.setattr(resample, "BLOCK_BYTES", block_bytes)
    a, b = values_of(queries), values_of(queries, seed=1)

    fast, paired = bootstrap(a, 200, seed=3), bootstrap_difference(a, b, 200, seed=3)

    for own, slow in ((fast, slow_intervals(a, None, 200, 3)), (paired, slow_intervals(a, b, 200, 3))):
        assert own.keys() == slow.keys()
        for name, ends in slow.items():
            assert own[name] == pytest.approx(ends), name
    assert bootstrap(a, 200, seed=3) == fast and (queries < 3 or bootstrap(a, 200, seed=4) != fast)


def test_an_interval_of_the_mean_is_as_wide_as_theory_says():
    values = values_of(4000)

    low, high = bootstrap(values, 2000, seed=0)["map"]

    assert high - low == pytest.approx(2 * 1.96 * values.column("map").std() / np.sqrt(4000), rel=0.05)
    assert low < values.column("map").mean() < high


def slow_p(a: PerQuery, b: PerQuery) -> dict[str, float]:
    """The slow obvious twin: every way to change sides, of all queries."""
    number, reached = len(a.rows), dict.fromkeys((*a.names, "median_rank"), 0)

    def difference(ways: tuple[int, ...], name: str) -> float:
        sides = (a.first, b.first) if name == "median_rank" else (a.column(name), b.column(name))
        one, other = ([pair[way] for way, pair in zip(ways, zip(*order))] for order in (sides, sides[::-1]))
        middle = statistics.median if name == "median_rank" else statistics.fmean
        return abs(middle(map(float, other)) - middle(map(float, one)))

    for name in reached:
        observed = difference((0,) * number, name)
        reached[name] = sum(difference(ways, name) >= observed - 1e-12 for ways in itertools.product((0, 1), repeat=number))
    return {name: count / 2**number for name, count in reached.items()}


@pytest.mark.parametrize("seed", range(4))
def test_few_changes_are_tossed_in_every_way(seed):
    a, b = values_of(9, seed), values_of(9, seed + 10)
    same = [1, 4]
    b.values[same], b.first[same] = a.values[same], a.first[same]

    assert randomisation_test(a, b, tosses := 1 << 7, seed=0) == pytest.approx(slow_p(a, b))
    assert randomisation_test(a, b, tosses - 1, seed=0) != pytest.approx(slow_p(a, b)), "one toss fewer than ways: drawn"


@pytest.mark.parametrize("block_bytes", [1, 1 << 25])
def test_drawn_tosses_come_near_all_ways(monkeypatch, block_bytes):
    a, b = values_of(12, 3), values_of(12, 4)
    exact = slow_p(a, b)
    monkeypatch.setattr(resample, "BLOCK_BYTES", block_bytes)

    drawn = randomisation_test(a, b, 4000, seed=0)

    assert drawn == pytest.approx(exact, abs=0.03) and drawn != exact


def test_no_change_is_no_evidence_and_a_large_one_is():
    a = values_of(50)
    better = PerQuery(a.rows, a.names, a.values + 1, np.ones(50, int), a.depth)

    assert set(randomisation_test(a, a, 1000, seed=0).values()) == {1.0}
    assert randomisation_test(a, better, 1000, seed=0)["map"] == 1 / 1001
    assert bootstrap_difference(a, a, 100, seed=0)["map"] == (0, 0)
