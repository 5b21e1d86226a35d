"""Layers of a perceptron with batch norm between them.

Legend: B rows.
"""

from __future__ import annotations

from itertools import pairwise

from torch import nn


class BatchNormMLP(nn.Sequential):
    """Linear layers, each but the last followed by batch norm and a leaky ReLU: [B, sizes[0]] -> [B, sizes[-1]].

    Source: MQMC as released; its visual encoders have the sizes 2048, 512, 512, 1024, its query encoders 1024, 1024, 1024, 512.

    Args:
        sizes: widths from the input to the output, two or more.
        ends_linear: False: the last layer too is followed by batch norm and a leaky ReLU (the release's word encoders: 768, 1024).
    """

    def __init__(self, *sizes: int, ends_linear: bool = True) -> None:
        layers: list[nn.Module] = []
        for before, after in pairwise(sizes):
            layers += [nn.Linear(before, after), nn.BatchNorm1d(after), nn.LeakyReLU()]
        super().__init__(*(layers[:-2] if ends_linear else layers))
