"""Whose turn it is where several take turns by weight: never a whole turn ahead of their share or behind it.

Legend: k corpora of weights w_1 … w_k, which add up to 1; n turns dealt; c_i(n) of them to corpus i.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np


class Dealing:
    """Turn after turn, a function of the weights alone, such that for every n and i

        | c_i(n) - n w_i | < 1.

    Turn n goes, among the corpora that may have it, to the one that must have its next turn soonest:

        may have it:   c_i(n - 1) < n w_i                         else c_i(n) would be a whole turn ahead
        latest turn:   ceil( (c_i(n - 1) + 1) / w_i )             after it c_i would be a whole turn behind; ties go to the first in the list

    Why that always works: turn j of corpus i has to lie in the window from floor((j-1)/w_i) + 1 to ceil(j/w_i). Corpora whose windows lie within any
    m turns in a row need no more than m turns (at most m w_i windows of corpus i fit, and weights add up to 1), so windows can be
    kept by some dealing, and for jobs of one turn with whole-numbered windows "soonest latest turn first" finds one if there is any.
    Sources: the quota method of apportionment (Balinski and Young 1975); windows and proof for proportionate shares (Baruah, Cohen, Plaxton and
    Varvel 1996).

    Weights are taken as the decimal numbers that they are written as: w_i = p_i / D in whole numbers. A count that is within less than one of
    D w_i = p_i is p_i, so after every D turns (10 for weights 0.7 and 0.3) shares are exact and the dealing begins anew. Memory is a byte
    or two for each turn of one period that was asked for, and so is the time to skip into it.
    """

    def __init__(self, weights: Sequence[float]) -> None:
        exact = [Fraction(repr(float(weight))) for weight in weights]
        scale = math.lcm(*(weight.denominator for weight in exact))
        whole = [int(weight * scale) for weight in exact]
        common = math.gcd(*whole)
        self._parts = [number // common for number in whole]
        self.period = sum(self._parts)
        """D, turns after which the dealing begins anew"""
        self._counts = [0] * len(whole)
        self._turns = np.empty(0, dtype=np.uint16)

    def turn(self, number: int) -> int:
        """Who has turn `number` (from 0 on)."""
        place = number % self.period
        self._deal(place + 1)
        return int(self._turns[place])

    def counts(self, turns: int) -> list[int]:
        """How many of the first `turns` each has, c_i(turns)."""
        periods, rest = divmod(turns, self.period)
        self._deal(rest)
        had = np.bincount(self._turns[:rest], minlength=len(self._parts))
        return [periods * part + int(count) for part, count in zip(self._parts, had)]

    def _deal(self, turns: int) -> None:
        """Have the first `turns` of the period, and some more while at it."""
        if turns <= len(self._turns):
            return
        more = []
        for number in range(len(self._turns) + 1, min(self.period, max(turns, 2 * len(self._turns), 1024)) + 1):
            may = [i for i, part in enumerate(self._parts) if self._counts[i] * self.period < number * part]
            chosen = min(may, key=lambda i: (-(-(self._counts[i] + 1) * self.period // self._parts[i]), i))
            self._counts[chosen] += 1
            more.append(chosen)
        self._turns = np.concatenate([self._turns, np.array(more, dtype=np.uint16)])
