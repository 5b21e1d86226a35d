"""How far a score may be off: what makes candidates, found in rounded arithmetic, a proof that no better document was left out.

Let u be the unit roundoff of a format (float32 2^-24, float16 2^-11, bfloat16 2^-8): rounding a number x changes it by at most u |x|. A sum
of D products whose every operation rounds so is off by at most gamma(D) sum_i |q_i d_i| <= gamma(D) |q| |d|, gamma(m) = m u / (1 - m u),
whatever the order of the sum and with or without fused operations (Higham, Accuracy and Stability of Numerical Algorithms, 3.1).

A score in half precision takes q' and d', q and d rounded to half, and sums in float32. With the residuals r_q = q - q', r_d = d - d'

    q.d = q'.d' + q.r_d + r_q.d'        so        |q.d - q'.d'| <= |q| |r_d| + |r_q| |d'|

where the lengths of the residuals are not bounded but measured (the residual of a float32 is a float32). Products of two halves are exact in
float32. Sums are taken with u = 2^-22 for float32: matrix units align the terms of a sum and cut instead of rounding, and some instructions
round twice a product. The sum comes back rounded to half once more, by at most h |score| with h = u_half / (1 - u_half), and a score that
is too small for a format's full precision by at most half its smallest number; where vectors are so short that this decides, half precision
is of no use.
Our own source; tests hold every bound against float64.

Legend: q query, d document, D width, Q queries.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

FLOAT32 = 2.0**-24
MATRIX_UNIT = 2.0**-22
"""Of a sum in float32 by whatever a processor or card multiplies matrices with."""
HALVES = {"float16": 2.0**-11, "bfloat16": 2.0**-8}
LARGEST = {"float32": 3.0e38, "float16": 6.0e4, "bfloat16": 3.0e38}
"""A product of lengths up to which no sum overflows."""
STEPS = {"float16": 2.0**-24, "bfloat16": 2.0**-133}
"""A format's smallest number."""
SHORT = {"float16": 2.0**-11, "bfloat16": 2.0**-100}
"""A product of lengths below which the smallest numbers decide more than the share that rounding takes."""
SMALLEST = 2.0**-100
"""More than what is lost, an operation, where numbers too small for a format become 0."""
SHORTEST = 2.0**-50
"""Likewise of a length, which is the root of a sum."""


def gamma(terms: int, unit: float = FLOAT32) -> float:
    """Largest error of a sum of `terms` products, as a share of |q| |d|; infinite where the proof ends (2^22 terms and more)."""
    return terms * unit / (1 - terms * unit) if terms * unit < 0.5 else float("inf")


def measured(lengths: np.ndarray, dim: int) -> np.ndarray:
    """float64: upper bounds of `lengths` that were computed in float32 over `dim` numbers."""
    return lengths.astype(np.float64) * (1 + 2 * gamma(dim + 2)) + SHORTEST


class Margin(NamedTuple):
    """|score - exact-order score| <= fixed + relative |score|, for each query of Q against any document of a block.

    The exact-order score is what `evaluate/engines/pairs.py` gives, float32 itself: its own error is within `fixed`.
    """

    fixed: np.ndarray
    """float64 [Q]."""
    relative: float

    def floor(self, scores: np.ndarray) -> np.ndarray:
        """float32 [Q]: a document whose score is below it ends behind every document whose exact-order score is `scores` or more."""
        return self._below(scores.astype(np.float64) - self.fixed)

    def floor_of_scores(self, scores: np.ndarray) -> np.ndarray:
        """float32 [Q]: as `floor`, for documents whose score in this arithmetic is `scores` or more."""
        given = scores.astype(np.float64)
        # -inf, where a list is not full, stays -inf.
        with np.errstate(invalid="ignore"):
            least = np.where(np.isneginf(given), given, given - self.relative * np.abs(given) - self.fixed)
        return self._below(least - self.fixed)

    def of(self, queries: np.ndarray) -> Margin:
        """That of some of the queries."""
        return Margin(self.fixed[queries], self.relative)

    def _below(self, ends: np.ndarray) -> np.ndarray:
        """The largest x with x + relative |x| <= ends, rounded down."""
        ends = np.where(ends >= 0, ends / (1 + self.relative), ends / (1 - self.relative))
        return np.nextafter(ends.astype(np.float32), np.float32(-np.inf))


def plain_margin(query_lengths: np.ndarray, longest: float, dim: int) -> Margin:
    """Of float32 products by any matrix routine: both sums are off by gamma(D). `query_lengths` [Q], `longest` of a document, as measured."""
    lengths = measured(query_lengths, dim) * measured(np.array(longest), dim)
    return Margin(lengths * (gamma(2 * dim, MATRIX_UNIT) + gamma(dim)) + dim * SMALLEST, 0.0)


def half_margin(query_lengths: np.ndarray, query_residuals: np.ndarray, longest: float, residual: float, dim: int, half: str) -> Margin:
    """Of products in the format `half`, as above; lengths as measured, [Q] of the queries, `longest` and largest `residual` of a document."""
    lengths, residuals = measured(query_lengths, dim), measured(query_residuals, dim)
    document, lost = measured(np.array([longest, residual]), dim).tolist()
    rounded = document + lost
    fixed = lengths * lost + residuals * rounded + (lengths + residuals) * rounded * gamma(2 * dim, MATRIX_UNIT) + lengths * document * gamma(dim)
    return Margin(fixed + STEPS[half] + dim * SMALLEST * (1 + lengths + document), HALVES[half] / (1 - HALVES[half]))
