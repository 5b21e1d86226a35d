"""How far the numbers could be chance: bootstrap intervals, and the paired randomisation test of a difference.

Queries are what is drawn. All metrics use the same draws, and draws come in blocks, so that memory is a block and the queries' values.
Legend: E queries, M metrics that are means, R resamples, b of a block.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from evaluate.judging.per_query import PerQuery
from launch.seeds import generator

BLOCK_BYTES = 1 << 25


def bootstrap(values: PerQuery, resamples: int, seed: int, confidence: float = 0.95) -> dict[str, tuple[float, float]]:
    """{metric: (low, high)}: percentile bootstrap intervals of every mean and of median_rank.

    E queries are drawn with replacement, R times; the interval holds the middle share `confidence` of what the metric then is.
    Source: Efron 1979; for retrieval Sakai 2006.
    """
    [drawn] = _resampled((values,), resamples, seed)
    return _intervals(drawn, (*values.names, "median_rank"), confidence)


def bootstrap_difference(a: PerQuery, b: PerQuery, resamples: int, seed: int, confidence: float = 0.95) -> dict[str, tuple[float, float]]:
    """{metric: (low, high)} of b's metric minus a's, for the same E queries in the same order, drawn together."""
    of_a, of_b = _resampled((a, b), resamples, seed)
    return _intervals(of_b - of_a, (*a.names, "median_rank"), confidence)


def randomisation_test(a: PerQuery, b: PerQuery, resamples: int, seed: int) -> dict[str, float]:
    """{metric: p}: how often a difference as large as that of a and b (either way) comes about when each query's two values change sides by
    the toss of a coin.

        p = (1 + tosses with |difference*| >= |difference|) / (1 + R)

    and where so few queries changed that there are at most R ways to toss, all of them are tried: p = that share of them.
    Source: Fisher 1935; for retrieval Smucker et al. 2007. p-values of several metrics are not corrected for each other.
    """
    changed = np.flatnonzero((a.values != b.values).any(axis=1) | (a.first != b.first))
    differences = (b.values - a.values)[changed]
    # Sums of the same numbers in another order differ in the last bits; equal ones count.
    least = np.abs(differences.sum(axis=0)) - 1e-9 * np.abs(differences).sum(axis=0)
    ranks = _Ranks(a.first, b.first, changed)
    least_of_ranks = np.abs(ranks.difference(np.zeros((1, len(changed)), bool)))
    reached, tosses = np.zeros(len(a.names) + 1), 0
    for swapped in _tosses(len(changed), resamples, seed):
        reached[:-1] += (np.abs((1.0 - 2.0 * swapped) @ differences) >= least).sum(axis=0)
        reached[-1] += (np.abs(ranks.difference(swapped)) >= least_of_ranks).sum()
        tosses += len(swapped)
    p = reached / tosses if _are_few(len(changed), resamples) else (1 + reached) / (1 + tosses)
    return dict(zip((*a.names, "median_rank"), p.tolist()))


def _intervals(drawn: np.ndarray, names: tuple[str, ...], confidence: float) -> dict[str, tuple[float, float]]:
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
    return {name: (float(one), float(other)) for name, one, other in zip(names, low, high)}


def _resampled(sides: tuple[PerQuery, ...], resamples: int, seed: int) -> list[np.ndarray]:
    """For each side float64 [R, M + 1]: its means, then its median rank, over the drawn queries; the same ones on all sides."""
    number = len(sides[0].rows)
    drawn = [np.empty((resamples, len(side.names) + 1)) for side in sides]
    medians = [_WeightedMedian(side.first) for side in sides]
    done = 0
    for times in _times_drawn(number, resamples, seed):
        for side, median, out in zip(sides, medians, drawn):
            out[done : done + len(times), :-1] = times @ side.values / number
            out[done : done + len(times), -1] = median.of(times)
        done += len(times)
    return drawn


def _times_drawn(number: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """float64 [b, number]: how often each of `number` queries is drawn in a resample."""
    draw = generator("bootstrap", seed)
    at_once = max(1, BLOCK_BYTES // (8 * number))
    for first in range(0, resamples, at_once):
        size = min(at_once, resamples - first)
        chosen = draw.integers(0, number, (size, number))
        chosen += number * np.arange(size)[:, None]
        yield np.bincount(chosen.ravel(), minlength=size * number).reshape(size, number).astype(np.float64)


class _WeightedMedian:
    """The median of `ranks` [E] where each counts so many times."""

    def __init__(self, ranks: np.ndarray) -> None:
        self._order = np.argsort(ranks, kind="stable")
        self._values, self._starts = np.unique(ranks[self._order], return_index=True)

    def of(self, times: np.ndarray) -> np.ndarray:
        """float64 [b] for `times` [b, E], whole numbers that add up to the same in each row."""
        up_to = np.cumsum(np.add.reduceat(times[:, self._order], self._starts, axis=1), axis=1)
        return _middle(up_to, self._values)


class _Ranks:
    """First ranks of two sides, of which the changed ones may change sides."""

    def __init__(self, a: np.ndarray, b: np.ndarray, changed: np.ndarray) -> None:
        self._values, places = np.unique(np.concatenate([a, b]), return_inverse=True)
        self._a, self._b = places[: len(a)][changed], places[len(a) :][changed]
        self._counts = [np.bincount(side, minlength=len(self._values)) for side in (places[: len(a)], places[len(a) :])]

    def difference(self, swapped: np.ndarray) -> np.ndarray:
        """float64 [b]: median of b less that of a, after the changes of sides `swapped`, bool [b, changed]."""
        size, width = len(swapped), len(self._values)
        toss, query = np.nonzero(swapped)
        moved = [np.bincount(toss * width + side[query], minlength=size * width).reshape(size, width) for side in (self._a, self._b)]
        of_a = np.cumsum(self._counts[0] - moved[0] + moved[1], axis=1)
        of_b = np.cumsum(self._counts[1] - moved[1] + moved[0], axis=1)
        return _middle(of_b, self._values) - _middle(of_a, self._values)


def _middle(up_to: np.ndarray, values: np.ndarray) -> np.ndarray:
    """float64 [b]: the median where `up_to` [b, V] things are at most `values` [V] (ascending)."""
    number = up_to[0, -1]
    lower, upper = ((up_to > place).argmax(axis=1) for place in ((number - 1) // 2, number // 2))
    return (values[lower] + values[upper]) / 2


def _are_few(number: int, resamples: int) -> bool:
    """True where the ways to toss `number` coins are at most `resamples`."""
    return number < resamples.bit_length()


def _tosses(number: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """bool [b, number]: who changes sides; all 2^number ways where they are few, else `resamples` drawn ones."""
    at_once = max(1, BLOCK_BYTES // (8 * max(1, number)))
    if _are_few(number, resamples):
        for first in range(0, 1 << number, at_once):
            ways = np.arange(first, min(first + at_once, 1 << number))
            yield (ways[:, None] >> np.arange(number) & 1).astype(bool)
        return
    draw = generator("randomisation", seed)
    for first in range(0, resamples, at_once):
        size = min(at_once, resamples - first)
        bits = np.frombuffer(draw.bytes(size * -(-number // 8)), np.uint8).reshape(size, -1)
        yield np.unpackbits(bits, axis=1, count=number).astype(bool)
