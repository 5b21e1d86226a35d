"""Small disturbances of a good's title, so that a text tower does not lean on single characters."""

from __future__ import annotations

import numpy as np

SHORTEST = 10
"""Characters of the shortest title that is disturbed."""


def noisy_title(title: str, probability: float, rng: np.random.Generator) -> str:
    """`title`, with `probability` a fifth of its characters (rounded down) disturbed: each doubled, dropped or followed by a space, at even chance.

    Titles shorter than SHORTEST stay as they are, and so do all where `probability` is 0. Source: QCD as released, probability 0.6; the
    rounding is ours.
    """
    # Nothing is drawn where nothing can change, so that the frames of such a good get the same crops with and without noise.
    if not probability or len(title) < SHORTEST or rng.random() >= probability:
        return title
    pieces = list(title)
    for place in rng.choice(len(title), size=len(title) // 5, replace=False):
        character = title[place]
        pieces[place] = (character * 2, "", f"{character} ")[rng.integers(3)]
    return "".join(pieces)
