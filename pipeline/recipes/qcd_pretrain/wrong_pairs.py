"""Wrong partners for matching: words with the frames of another document, and the other way round.

Legend: B documents of this rank, N of all ranks.
"""

from __future__ import annotations

import torch
from torch import Tensor


@torch.no_grad()
def wrong_partners(similarity: Tensor, allowed: Tensor, draw: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """(places [B] int64, found [B] bool): for each row one of the N that it is allowed, the more likely the more similar it is.

        p_ij proportional to exp(s_ij / temperature) over the allowed j;   the first j at which p_i1 + ... + p_ij is above the row's draw

    The draw comes with the document, so the choice follows from the batch alone, however many ranks share it.

    Source: hard negatives of ALBEF (Li et al. 2021, section 3.2), there drawn by each rank among its own rows; all ranks' rows are ours.

    Args:
        similarity: [B, N] cosines.
        allowed: [B, N] bool. Where a row has none, `found` is False and its place means nothing.
        draw: [B] float64, uniform in [0, 1).
    """
    logits = (similarity.double() / temperature).masked_fill(~allowed, -torch.inf)
    found = allowed.any(dim=1)
    reached = logits.softmax(dim=1).nan_to_num(0).cumsum(dim=1)
    # Times what is reached in the end, which rounding keeps from being 1: the last allowed one is passed by no draw.
    places = (reached <= (draw * reached[:, -1])[:, None]).sum(dim=1)
    return places.clamp(max=similarity.shape[1] - 1), found
