"""A layer for a modality that some rows lack.

Legend: B rows, C features of the modality, W features out.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from launch.distributed import sum_over_ranks
from models.batch_norm import SynchronisedBatchNorm


class PresentRows(nn.Module):
    """`layers` on the rows that have the modality, zeros for the others; so that batch statistics are those of what is there.

    Where fewer than two rows have it (of all ranks, where batch norm is synchronised), batch norm keeps to its running statistics for that
    batch: one row is no batch. Every parameter stays in the graph, as DDP needs it.

    Source: ours; MQMC as released takes a missing modality for a vector of zeros like any other. Where all rows have it, the two are equal.

    Args:
        layers: [n, C] -> [n, W] for any n.
    """

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, features: Tensor, present: Tensor) -> Tensor:
        """features [B, C], present [B] bool -> [B, W]."""
        everyone = bool(present.all())
        rows = features if everyone else features[present]  # the common case: no copies
        norms = [module for module in self.layers.modules() if isinstance(module, _BatchNorm | SynchronisedBatchNorm)]
        if self.training and norms:
            enough = self._together(norms, len(rows)) > 1
            for norm in norms:
                norm.train(enough)
        found = self.layers(rows)
        return found if everyone else found.new_zeros(len(features), found.shape[1]).masked_scatter(present[:, None], found)

    def _together(self, norms: Sequence[nn.Module], rows: int) -> int:
        """The rows that batch statistics are taken over."""
        if not isinstance(norms[0], SynchronisedBatchNorm):
            return rows
        return int(sum_over_ranks(torch.tensor(rows, device=next(self.layers.parameters()).device)))
