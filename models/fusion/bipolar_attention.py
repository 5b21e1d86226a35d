"""Two modalities of an item look at each other, at what is like them and at what is unlike them.

Legend: B items, M and N vectors of an item, W features, T frames, L words.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from models.fusion.masked_softmax import masked_softmax
from models.fusion.vector_set import VectorSet

MODALITIES = ("vision", "words")


class SignedAttention(nn.Module):
    """Scaled dot-product attention, one head, whose scores are multiplied by a factor; a negative one favours what is least alike.

        out = softmax( factor Q K^T / sqrt(W) ) V,   Q = x W_Q, K = y W_K, V = y W_V, no biases

    Args:
        width: W.
        factor: multiplies the scores; unitless, of either sign.
    """

    def __init__(self, width: int, factor: float) -> None:
        super().__init__()
        self.scale = factor / width**0.5
        self.query, self.key, self.value = (nn.Linear(width, width, bias=False) for _ in range(3))

    def forward(self, asking: Tensor, asked: Tensor, present: Tensor) -> Tensor:
        """asking [B, M, W], asked [B, N, W], present [B, N] bool: which of the asked are there -> [B, M, W], zeros where none is."""
        scores = (self.query(asking) * self.scale) @ self.key(asked).mT  # scaled before the product, which keeps it in the range of float16
        return masked_softmax(scores, present[:, None], dim=2) @ self.value(asked)


class BipolarAttention(nn.Module):
    """Each modality's vectors, with what they take from the other one.

        X_v = ReLU(E_v W_v),   X_t = ReLU(E_t W_t)
        V_P, V_N = signed attention of the words to the frames with the factors a and -(1 - a), each with weights of its own
        T_P, T_N = the same of the frames to the words
        words  = ReLU( X_t + [V_P ; V_N] W_1 ) W_2,   vision = ReLU( X_v + [T_P ; T_N] W_1' ) W_2'

    Of one modality alone (`sizes` has one) there is nothing to attend to: ReLU(X) W_2, and no attention is built (ours). An item that lacks a
    modality adds zeros to the other one.

    Source: MMRA as published. Ours: that words ask and frames answer in V_P, which the paper leaves to its residual, whose two sides
    must have as many rows. With a single vector of words (the program's setting) frames have nothing to choose between: queries and keys of
    that side get a gradient of zero.

    Args:
        sizes: features of each modality, by its name in MODALITIES.
        width: W.
        alpha: a, from 0 to 1.
        positive, negative: whether there is that sign. Without it its projections and its half of W_1 are not built.
    """

    def __init__(self, sizes: Mapping[str, int], width: int, *, alpha: float = 0.6, positive: bool = True, negative: bool = True) -> None:
        super().__init__()
        factors = [factor for factor, wanted in ((alpha, positive), (alpha - 1, negative)) if wanted]
        self.project = nn.ModuleDict({name: nn.Linear(size, width, bias=False) for name, size in sizes.items()})
        self.second = nn.ModuleDict({name: nn.Linear(width, width, bias=False) for name in sizes})
        both = sizes if len(sizes) == 2 else ()
        self.signs = nn.ModuleDict({name: nn.ModuleList(SignedAttention(width, factor) for factor in factors) for name in both})
        self.first = nn.ModuleDict({name: nn.Linear(len(factors) * width, width, bias=False) for name in both})

    def forward(self, sets: Mapping[str, VectorSet]) -> dict[str, Tensor]:
        """vision [B, T, W], words [B, L, W]: of each modality of `sizes`; what stands where a vector is missing means nothing."""
        projected = {name: layer(sets[name].values).relu() for name, layer in self.project.items()}
        out = {}
        for name, own in projected.items():
            if name in self.first:
                other = other_modality(name)
                taken = [sign(own, projected[other], sets[other].present) for sign in self._signs(name)]
                own = own + self.first[name](torch.cat(taken, dim=2))
            out[name] = self.second[name](own.relu())
        return out

    def _signs(self, name: str) -> nn.ModuleList:
        found = self.signs[name]
        assert isinstance(found, nn.ModuleList)
        return found


def other_modality(name: str) -> str:
    """ "words" for "vision", "vision" for "words"."""
    return MODALITIES[1 - MODALITIES.index(name)]
