"""Several vectors of an item to one, by a weight that each earns by itself.

Legend: B items, N vectors of an item, W features.
"""

from __future__ import annotations

from torch import Tensor, nn

from models.fusion.masked_softmax import masked_softmax


class AttentivePooling(nn.Module):
    """Weighted mean of an item's vectors.

        out = sum_n w_n x_n,   w = softmax_n( (x_n . u + c) / divisor )

    An item that has none of its vectors is zero.

    Source: the attentive pooling of MMRA, whose paper names no formula; as released c is there, which no softmax sees, and the divisor is W,
    which keeps the weights near a plain mean. The published form here has no c and divides by 1 (ours).

    Args:
        width: W.
        divisor: divides the scores; unitless, > 0.
        bias: whether there is a c, as in the released checkpoints. Its gradient is always zero.
    """

    def __init__(self, width: int, *, divisor: float = 1.0, bias: bool = False) -> None:
        super().__init__()
        self.divisor = divisor
        self.score = nn.Linear(width, 1, bias=bias)

    def forward(self, vectors: Tensor, present: Tensor) -> Tensor:
        """vectors [B, N, W], present [B, N] bool -> [B, W]."""
        weights = masked_softmax(self.score(vectors)[..., 0] / self.divisor, present, dim=1)
        return (weights[:, None] @ vectors)[:, 0]
