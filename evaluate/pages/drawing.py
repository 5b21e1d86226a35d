"""Figures as SVG, drawn by matplotlib: a file of their own in fixed colours, or inside a page in the page's."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, FAINT, GOOD, OTHER = "#24292f", "#8c959f", "#0a7d5a", "#3b6fd4"
IN_A_PAGE = {INK: "currentColor", FAINT: "var(--faint)", GOOD: "var(--hit)", OTHER: "var(--other)"}
"""What stands for each colour in templates/page.css, which has a light and a dark one of each."""


@contextmanager
def drawing(name: str, height: float = 4.6) -> Iterator[tuple[Figure, Axes]]:
    """A figure of 8 by `height` inches with one pair of axes, and matplotlib set so that text stays text and equal numbers give equal bytes."""
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "font.family": "sans-serif", "font.size": 11}):
        figure = Figure(figsize=(8, height), layout="constrained")
        axes = figure.add_subplot()
        axes.grid(color=FAINT, alpha=0.25)
        axes.tick_params(which="both", color=FAINT, labelcolor=INK)
        for side, spine in axes.spines.items():
            spine.set_visible(side in ("left", "bottom"))
            spine.set_color(FAINT)
        yield figure, axes


def svg_of(figure: Figure) -> str:
    """The figure as an SVG file on a transparent ground; call it while `drawing` is open."""
    [axes] = figure.axes
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    figure.legend(loc="outside upper left", ncols=3, frameon=False, labelcolor=INK)
    text = io.StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    return text.getvalue()


def inside_page(svg: str, name: str, says: str) -> Markup:
    """An SVG file as an element of a page, in the page's colours, so that it can be read on a dark ground too.

    Args:
        name: goes before its ids, since a page may hold several figures.
        says: in words, for those who do not see it.
    """
    svg = svg[svg.index("<svg") :]
    for colour, own in IN_A_PAGE.items():
        svg = svg.replace(colour, own)
    svg = re.sub(r'( id="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    return Markup(svg.replace("<svg", f'<svg role="img" aria-label="{escape(says)}"', 1))
