"""The recall curve as SVG."""

from __future__ import annotations

import numpy as np
from matplotlib.ticker import FuncFormatter, NullFormatter

from evaluate.judging.judged import Judged
from evaluate.judging.metrics import chance, hit_curve, recall_curve
from evaluate.pages.drawing import FAINT, GOOD, OTHER, drawing, svg_of


def recall_svg(judged: Judged, docs: int | None) -> str:
    """An SVG of recall@k and hit@k over k (logarithmic), 1 <= k <= K, beside the recall of `docs` documents in random order.

    Args:
        docs: number of documents searched; None where lists could hold some alone (`RankedAttributes.candidates`). How many relevant ones are
            among a query's candidates is not known then, and the line of a random order is left out.
    """
    found = judged.found
    k = np.arange(1, found.depth + 1)
    with drawing("recall") as (figure, axes):
        axes.plot(k, hit_curve(found), color=OTHER, linewidth=5, alpha=0.45, label="hit@k")
        axes.plot(k, recall_curve(found), color=GOOD, linewidth=2, label="recall@k")
        if docs is not None:
            at_random = k * chance(found.relevant, docs, [1], judged.searched)["recall@1"]
            axes.plot(k, at_random, "--", color=FAINT, linewidth=1.5, label="recall@k, random order")
        axes.set(xscale="log", xlim=(1, max(2, found.depth)), ylim=(0, 1.02), xlabel="k, results looked at", ylabel="share")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        return svg_of(figure)
