"""Concepts as vectors that know of each other: a graph of what is spoken of together, and two graph convolutions over it.

Legend: K concepts, E features of a concept's word, H and W features inside and out.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, normalize

SHARPNESS, CENTRE, THRESHOLD, SHARE, SLOPE = 5.0, 0.02, 0.3, 0.25, 0.2


def concept_graph(captions: Tensor, together: Tensor) -> Tensor:
    """The normalised adjacency matrix of concepts, float32 [K, K].

        P(j | i) = together_ij / captions_i,   s = 5^(P - .02) - 5^(-.02),   A = [s >= .3]
        A = .25 A / (sum of its column) + identity,   D^-1/2 A D^-1/2 with D the sums of the rows

    So rare chance meetings leave no edge, and a concept's own vector weighs more than its neighbours'. Source: CVSE, as released.

    Args:
        captions: [K], in how many captions each concept occurs.
        together: [K, K], in how many two of them do, 0 on the diagonal.
    """
    given = together.double() / captions.double().clamp(min=1)[:, None]
    edges = (SHARPNESS ** (given - CENTRE) - SHARPNESS**-CENTRE >= THRESHOLD).double()
    weighted = SHARE * edges / edges.sum(dim=0).clamp(min=1) + torch.eye(len(edges), dtype=torch.double)
    scale = weighted.sum(dim=1).rsqrt()
    return (scale[:, None] * weighted * scale).float()


class ConceptGraph(nn.Module):
    """Two graph convolutions, rows at length 1: [K, W].

        normalise( A leaky_relu(A X U, .2) V )

    Source: CVSE, as released: E = 300 from GloVe, H = 512, W = 1024, no bias.

    Args:
        words: X [K, E], vectors of the concepts' words; not trained.
        graph: A [K, K], of `concept_graph`.
        hidden: H.
        width: W.
    """

    words: Tensor
    graph: Tensor

    def __init__(self, words: Tensor, graph: Tensor, hidden: int, width: int) -> None:
        super().__init__()
        self.register_buffer("words", words)
        self.register_buffer("graph", graph)
        self.inner = nn.Linear(words.shape[1], hidden, bias=False)
        self.outer = nn.Linear(hidden, width, bias=False)

    def forward(self) -> Tensor:
        """All concepts, float32 [K, W]."""
        inner = leaky_relu(self.graph @ self.inner(self.words).float(), SLOPE)
        return normalize(self.graph @ self.outer(inner).float(), dim=-1)
