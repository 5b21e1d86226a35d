"""Clusters of rows that are found while training: pseudo labels, balanced over a batch and a queue, over all ranks.

Legend: n rows of this rank, N of all ranks, C clusters, D features.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from launch.distributed import rank, sum_over_ranks, world_size

Total = Callable[[Tensor], Tensor]


@torch.no_grad()
def balanced_assignment(scores: Tensor, rounds: int = 3, total: Total = sum_over_ranks) -> Tensor:
    """Each row's shares in the clusters [n, C]: rows sum to 1, clusters have nearly equal sums over the rows of all ranks.

        Q = exp(scores);  then by turns: rows divided by their sums, columns by their sums over all ranks (times C / N);  rows last

    This is Sinkhorn's algorithm for the assignment that follows the scores best among those that share all rows out equally; `rounds` of 3 are nearly
    that. Source: SwAV (Caron et al. 2020), section 3.1. A sum of columns is all that ranks exchange, so R ranks find what one process finds.

    Args:
        scores: [n, C], similarities over a temperature. Ranks may have different n.
        total: sums a tensor over ranks.
    """
    shares = scores.float().softmax(dim=1)
    rows = total(torch.tensor(float(len(scores)), device=scores.device))
    for _ in range(rounds):
        shares = shares / (total(shares.sum(dim=0)) * scores.shape[1] / rows).clamp(min=1e-12)
        shares = shares / shares.sum(dim=1, keepdim=True).clamp(min=1e-12)
    return shares


class OnlineClusters(nn.Module):
    """Centroids that follow rows as they come, and which clusters a row belongs to.

    Rows are compared after their mean is taken off, each at length 1 again: the rows of one encoder lie in a narrow cone, in which all centroids
    would be alike. A centroid keeps `momentum` of itself at a step and takes the rest of the rows that were assigned to it,

        c_k <- normalise( momentum c_k + (1 - momentum) normalise( sum_i q_ik z_i ) )

    Source: ours. CODER makes pseudo labels of instance embeddings by online clustering; how is not known. The balanced assignment is SwAV's, where
    centroids are trained by gradients.

    Args:
        clusters: C.
        dim: D.
        temperature: divides cosines with centroids; the less, the harder the labels (.05 in SwAV).
        momentum: share of itself that a centroid keeps at a step.
    """

    centroids: Tensor
    """[C, D], of length 1"""

    def __init__(self, clusters: int, dim: int, temperature: float = 0.05, momentum: float = 0.9) -> None:
        super().__init__()
        if clusters < 2:
            raise ValueError(f"--system.clusters {clusters}: at least 2, one tells nothing apart; --system.cluster_weight 0 leaves them out")
        self.temperature, self.momentum = temperature, momentum
        self.register_buffer("centroids", normalize(torch.randn(clusters, dim), dim=-1))
        self._seen: list[Tensor] = []

    @torch.no_grad()
    def forward(self, rows: Tensor, shared: Tensor) -> Tensor:
        """The shares [n, C] of this rank's rows [n, D] in the clusters; all ranks call it together.

        Args:
            shared: [M, D], further rows that every rank has (a queue's), among which the clusters are balanced, too. Each is counted once.
        """
        # Every rank takes its part of the shared rows, so that sums over ranks are sums over all.
        own = torch.cat([rows.float(), shared[rank() :: world_size()].float()])
        mean = sum_over_ranks(own.sum(dim=0)) / sum_over_ranks(torch.tensor(float(len(own)), device=own.device))
        own = normalize(own - mean, dim=-1)
        shares = balanced_assignment(own @ self.centroids.T / self.temperature)
        self._seen.append(sum_over_ranks(shares.T @ own))
        return shares[: len(rows)]

    @torch.no_grad()
    def follow(self) -> None:
        """Move the centroids to what was assigned to them since the last call; after the step."""
        for sums in self._seen:
            self.centroids.copy_(normalize(self.momentum * self.centroids + (1 - self.momentum) * normalize(sums, dim=-1), dim=-1))
        self._seen = []
