"""Score histograms as SVG: how far what is relevant stands apart from the best of what is not."""

from __future__ import annotations

import numpy as np

from evaluate.pages.drawing import GOOD, OTHER, drawing, svg_of
from evaluate.pages.scores import BestScores

BINS = (10, 40)
"""Fewest and most."""


def scores_svg(best: BestScores, evaluated: np.ndarray) -> str:
    """An SVG of two histograms over the queries `evaluated` (bool [Q]), each as shares of those queries that have such a score."""
    kinds = (("best irrelevant", best.irrelevant, OTHER), ("best relevant", best.relevant, GOOD))
    values = {label: scores[evaluated & np.isfinite(scores)] for label, scores, _ in kinds}
    bins = int(np.clip(2 * np.sqrt(evaluated.sum()), *BINS))
    edges = np.histogram_bin_edges(np.concatenate(list(values.values())), bins)
    with drawing("scores", height=3.4) as (figure, axes):
        for label, _, colour in kinds:
            share = np.histogram(values[label], edges)[0] / max(1, len(values[label]))
            axes.stairs(share, edges, fill=True, color=colour, alpha=0.25)
            axes.stairs(share, edges, color=colour, linewidth=1.8, label=label)
        axes.set(xlabel="score", ylabel="share of queries", ylim=(0, None))
        return svg_of(figure)
