"""Predicted against true values, and errors by tenth, as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from evaluate.pages.drawing import FAINT, GOOD, OTHER, drawing, svg_of

MOST_POINTS = 4000
"""Points of the scatter plot at most, every n-th item, so that the page stays small."""


def scatter_svg(predicted: np.ndarray, true: np.ndarray) -> str:
    """A point for each item, and the line where the prediction is right."""
    every = -(-len(true) // MOST_POINTS)
    both = np.concatenate([predicted, true])
    low, high = float(both.min()), float(both.max())
    margin = 0.03 * (high - low) or 1.0
    with drawing("predicted against true", height=6.4) as (figure, axes):
        axes.plot([low, high], [low, high], "--", color=FAINT, linewidth=1.5, label="a right prediction")
        axes.plot(true[::every], predicted[::every], "o", color=OTHER, markersize=4, alpha=0.5, markeredgewidth=0, label="an item")
        axes.set(xlim=(low - margin, high + margin), ylim=(low - margin, high + margin), xlabel="true", ylabel="predicted")
        return svg_of(figure)


def tenths_svg(tenths: Sequence[Mapping[str, Any]]) -> str:
    """Mean true and mean predicted value of each tenth, and its mean absolute error as a bar."""
    places = np.arange(1, len(tenths) + 1)
    with drawing("by tenth", height=4.0) as (figure, axes):
        axes.bar(places, [row["mae"] for row in tenths], color=FAINT, alpha=0.45, width=0.7, label="mean absolute error")
        axes.plot(places, [row["mean_true"] for row in tenths], "o-", color=GOOD, linewidth=2, label="mean true value")
        axes.plot(places, [row["mean_predicted"] for row in tenths], "o-", color=OTHER, linewidth=2, label="mean prediction")
        axes.set(xticks=places, xlabel="tenth of the items by true value, lowest first")
        return svg_of(figure)
