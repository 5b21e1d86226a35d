"""How much each negative counts, so that many of a kind count as few of that kind.

Legend: N candidates, D features.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize


class DiversityWeights(nn.Module):
    """A weight for each candidate: less where many others are like it, more where it is one of its kind.

        w_j = rho_j^-power,   rho_j = mean_k exp( (n_j . n_k - 1) / bandwidth )   over the candidates that are there, j itself among them

    Source: ours. CODER says that its contrast is sensitive to diversity by weighting negatives adaptively; its formula could not be read. This is how
    the weights follow from that idea. The sum over negatives in InfoNCE is, up to a factor, a mean over a sample of the corpus,

        E_{n ~ p} exp(s(q, n) / temperature),

    with p the density of what was drawn: a queue of some thousand rows holds forty waves with a surfer and one lighthouse, and the loss pushes forty
    times as hard at surfers, though the second surfer taught hardly anything that the first did not. What is wanted is the mean under a flatter
    density, p^(1 - power) up to its norm: with power 1 every kind counts once, however often it was drawn, with power 0 nothing changes. A mean
    under another density is the same mean with weights, their ratio: w = p^-power. And p is what a kernel estimate over the candidates themselves
    says, rho; so the weights adapt to the dictionary at every step. If the candidates are groups of m_g alike rows, and different groups have
    nothing in common, then rho = m_g / N, and all rows of a group together weigh m_g^(1 - power) N^power: at power 1 the same for each group, and
    hardness between groups is left as it is. Near-copies of a query's own match, which are mostly no true negatives, are many and so count less,
    too.

    Args:
        power: 0 to 1.
        bandwidth: differences of cosines above about this make two candidates different; > 0.
    """

    def __init__(self, power: float, bandwidth: float = 0.1) -> None:
        super().__init__()
        if not 0 <= power <= 1:
            raise ValueError(f"--system.diversity {power}: a power from 0 (negatives count alike) to 1 (each kind counts once)")
        if not bandwidth > 0:
            raise ValueError(f"--system.diversity_bandwidth {bandwidth}: it divides differences of cosines and must be above 0")
        self.power, self.bandwidth = power, bandwidth

    @torch.no_grad()
    def forward(self, candidates: Tensor, present: Tensor) -> Tensor:
        """The logarithms of the weights, float32 [N], without a gradient; 0 for candidates that are absent.

        Args:
            candidates: [N, D], compared by cosine.
            present: [N] bool.
        """
        with torch.autocast(candidates.device.type, enabled=False):
            rows = normalize(candidates.float(), dim=-1)
            kernel_nn = ((rows @ rows.T - 1) / self.bandwidth).exp_() * present
            density = kernel_nn.sum(dim=1) / present.sum().clamp(min=1)
            return torch.where(present, -self.power * density.clamp(min=1e-12).log(), 0.0)
