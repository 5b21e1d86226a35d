"""Features of past batches, kept as further candidates of a contrast.

Legend: M rows of the queue, D features, n new rows, B queries, K ids a row, Q ids a query.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class FeatureQueue(nn.Module):
    """The last `size` feature rows, each with the ids it belongs to; a ring in buffers, so that a checkpoint holds it.

    Rows have no gradient. A contrast takes `features` behind its own batch and leaves out `~valid | shared(ids)`: rows that are not filled
    yet, and rows that are right answers too. (The released cross-batch memory has no such mask: its targets are right only because it puts
    the newest batch first.)

    Every rank must have the same rows: give `enqueue` those of all ranks, gathered. Give them after the backward pass, since rows are
    overwritten in place.

    Source: He et al. 2020 (MoCo), section 3.2; Wang et al. 2020 (cross-batch memory), section 3.2. QCD as released keeps 10 batches of
    embeddings, or 65,536 momentum features.

    Args:
        size: M, rows; 4 D M bytes.
        dim: D.
        keys: K, ids a row; 0 where rows need none.
    """

    features: Tensor
    """[M, D] float32, zeros where nothing was put yet"""
    keys: Tensor
    """[M, K] int64, padded with -1"""
    pointer: Tensor
    """int64, the row that is overwritten next"""
    filled: Tensor
    """int64, how many rows are filled"""

    def __init__(self, size: int, dim: int, keys: int = 0) -> None:
        super().__init__()
        if size < 1:
            raise ValueError(f"a queue of {size} rows holds nothing; give 1 or more, or leave the queue out")
        self.register_buffer("features", torch.zeros(size, dim))
        self.register_buffer("keys", torch.full((size, keys), -1))
        self.register_buffer("pointer", torch.tensor(0))
        self.register_buffer("filled", torch.tensor(0))

    @torch.no_grad()
    def enqueue(self, features: Tensor, keys: Tensor | None = None) -> None:
        """Put rows in, the oldest go: features [n, D], later ones newer; keys [n, K] int64, ids >= 0 or -1. Of more than M the newest M stay."""
        size, count = len(self.features), len(features)
        assert (0 if keys is None else keys.shape[1]) == self.keys.shape[1], "keys go with rows where the queue has room for them, and only there"
        kept = features[-size:]
        # The pointer stays on the device: no number is read from it, so nothing waits.
        places = (self.pointer + count - len(kept) + torch.arange(len(kept), device=kept.device)) % size
        self.features[places] = kept.float()
        if keys is not None:
            self.keys[places] = keys[-size:]
        self.pointer.add_(count).remainder_(size)
        self.filled.add_(count).clamp_(max=size)

    @property
    def valid(self) -> Tensor:
        """[M] bool, True for rows that are filled."""
        return torch.arange(len(self.features), device=self.filled.device) < self.filled

    def shared(self, ids: Tensor) -> Tensor:
        """[B, M] bool, True where a row has an id in common with a query: ids [B] of single queries, or [B, Q] padded with -1."""
        return share_an_id(ids, self.keys)


def share_an_id(ids: Tensor, keys: Tensor) -> Tensor:
    """[B, M] bool, True where a row of `ids` and a row of `keys` have an id in common; -1 is no id.

    Args:
        ids: [B], or [B, Q] padded with -1, int64: search queries against rows that are documents, or documents' queries against rows that are
            single queries. Takes Q * K comparisons of [B, M] one after the other, so that memory is that of one.
        keys: [M, K] int64, padded with -1.
    """
    ids = ids[:, None] if ids.dim() == 1 else ids
    ids = ids.where(ids >= 0, -2)  # the padding of one side is not that of the other
    found = torch.zeros(len(ids), len(keys), dtype=torch.bool, device=ids.device)
    for wanted in ids.unbind(dim=1):
        for key in keys.unbind(dim=1):
            found |= wanted[:, None] == key
    return found
