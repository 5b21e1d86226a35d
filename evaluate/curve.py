"""The recall curve as SVG, drawn by matplotlib."""

from __future__ import annotations

import io

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from evaluate.judged import Judged
from evaluate.metrics import chance, hit_curve, recall_curve

INK, FAINT, RECALL, HIT = "#24292f", "#8c959f", "#0a7d5a", "#3b6fd4"


def recall_svg(judged: Judged, docs: int) -> str:
    """An SVG of recall@k and hit@k over k (logarithmic), 1 <= k <= K, beside the recall of `docs` documents in random order.

    Text stays text, the ground is transparent, and the same numbers give the same bytes.
    """
    found = judged.found
    k = np.arange(1, found.depth + 1)
    at_random = k * chance(found.relevant, docs, [1], judged.searched)["recall@1"]
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "recall", "font.family": "sans-serif", "font.size": 11}):
        figure = Figure(figsize=(8, 4.6), layout="constrained")
        axes = figure.add_subplot()
        axes.plot(k, hit_curve(found), color=HIT, linewidth=5, alpha=0.45, label="hit@k")
        axes.plot(k, recall_curve(found), color=RECALL, linewidth=2, label="recall@k")
        axes.plot(k, at_random, "--", color=FAINT, linewidth=1.5, label="recall@k, random order")
        axes.set(xscale="log", xlim=(1, max(2, found.depth)), ylim=(0, 1.02), xlabel="k, results looked at", ylabel="share")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.grid(color=FAINT, alpha=0.25)
        axes.tick_params(which="both", color=FAINT, labelcolor=INK)
        axes.xaxis.label.set_color(INK)
        axes.yaxis.label.set_color(INK)
        for side, spine in axes.spines.items():
            spine.set_visible(side in ("left", "bottom"))
            spine.set_color(FAINT)
        figure.legend(loc="outside upper left", ncols=3, frameon=False, labelcolor=INK)
        text = io.StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    return text.getvalue()
