"""Which frames of a clip are looked at. Legend: L frames in the clip, T frames wanted, segment i is [i * L / T, (i + 1) * L / T)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def frame_positions(length: int, count: int, rng: np.random.Generator | None = None) -> list[int]:
    """T = `count` positions in 0 .. L - 1, ascending: one out of each of T equal segments of a clip of L = `length` frames.

    With `rng` a point is drawn uniformly in each segment and the frame that covers it is taken (training); without, the segment's
    centre, int((2i + 1) L / 2T) (evaluation). A clip with fewer frames than wanted repeats some. Source: QCD as released, T = 5.

    Raises ValueError where the clip has no frame or none is wanted.
    """
    return positions_at(length, segment_points(count, rng))


def segment_points(count: int, rng: np.random.Generator | None = None) -> list[float]:
    """T = `count` numbers in [0, 1): where in its segment each frame lies; drawn from `rng`, or 0.5 for centres.

    They do not depend on the clip's length, so they can be drawn before a video is opened.
    """
    if count < 1:
        raise ValueError(f"{count} frames wanted of a clip; at least 1 is needed")
    return [0.5] * count if rng is None else rng.random(count).tolist()


def positions_at(length: int, points: Sequence[float]) -> list[int]:
    """The frame that covers the point `points[i]` (0 its start, 1 its end) of segment i, for each of the T = len(points) segments."""
    if length < 1:
        raise ValueError(f"a clip of {length} frames has none to choose from")
    count = len(points)
    # The minimum is for a point so near to 1 that the sum rounds up to the clip's end.
    return [min(int((i + point) * length / count), length - 1) for i, point in enumerate(points)]
