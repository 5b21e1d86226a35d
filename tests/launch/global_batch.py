"""A small contrastive batch and its gradient, the same in one process and in many.

Legend: N rows of the global batch, B of them this process's own, D features, E of the embedding.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

BATCH = 12


def gradient_of_slice(own: slice, gather: Callable[[Tensor], Tensor]) -> Tensor:
    """Gradient [D, E] of the mean loss of rows `own` against all rows, whose embeddings `gather` brings together from [B, E]."""
    generator = torch.Generator().manual_seed(3)
    queries, documents = torch.randn(2, BATCH, 5, generator=generator)
    weight = torch.randn(5, 4, generator=generator, requires_grad=True)
    embedded = normalize(documents[own] @ weight, dim=1)
    candidates = gather(embedded)
    scores = normalize(queries[own] @ weight, dim=1) @ candidates.T / 0.1
    cross_entropy(scores, torch.arange(own.start, own.stop)).backward()
    assert weight.grad is not None
    return weight.grad
