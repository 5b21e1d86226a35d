"""Whether an exported form gives the numbers of the system itself.

Legend: B rows, D dimensions.
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

TOLERANCE = 1e-4
"""Greatest difference that is accepted, in an entry of vectors of length 1."""


def require_agreement(name: str, pairs: Iterable[tuple[Tensor, Tensor]]) -> float:
    """The greatest difference between ours and theirs over all `pairs` of [B, D], vectors of length 1.

    Raises:
        ValueError: it is above `TOLERANCE`, or a shape or a number is wrong.
    """
    greatest = 0.0
    for ours, theirs in pairs:
        if ours.shape != theirs.shape:
            raise ValueError(f"{name} gives {list(theirs.shape)} where the system gives {list(ours.shape)}; nothing was written")
        difference = float((ours - theirs).abs().max())
        if not difference <= TOLERANCE:  # a NaN is not, either
            raise ValueError(
                f"{name} differs from the system itself by {difference:.1e} in an entry of a vector of length 1, more than {TOLERANCE:.1e}; "
                "nothing was written"
            )
        greatest = max(greatest, difference)
    return greatest
