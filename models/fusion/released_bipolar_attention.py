"""Bipolar attention as MMRA's program has it, which is not what its paper writes.

Legend: B items, T frames, L words, C features of vision, D of words, W inside and out.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from models.fusion.bipolar_attention import other_modality
from models.fusion.masked_softmax import masked_softmax
from models.fusion.vector_set import VectorSet


class ReleasedBipolarAttention(nn.Module):
    """Each modality's vectors, with what they take from the other one.

        S = tanh(E_v W_v) tanh(E_t W_t)^T / W                           [T, L], one matrix for both directions and signs
        T_P = softmax over T of S, times E_t;   T_N = -a T_P            [T, D]
        V_P = softmax over L of S^T, times E_v; V_N = -a V_P            [L, C]
        vision = tanh( W [E_v ; tanh(W [T_P ; T_N])] ),   words = tanh( W [E_t ; tanh(W [V_P ; V_N])] )

    The softmax runs over the vectors that ask, not over those that answer: with one vector of words V_P is the sum of all frames. The negative
    sign is the positive one times -a, so that the two carry the same. All layers have biases.

    Of one modality alone (`sizes` has one) there is nothing to attend to: tanh(W E), and no attention is built (ours). A missing
    modality adds zeros in place of T_P or V_P (ours; the program knows none).

    Source: MMRA as released, where C = D = W = 768.

    Args:
        sizes: features of each modality, C of vision and D of words.
        width: W.
        alpha: a.
        positive, negative: whether there is that sign. Without it its half of the layer behind is not built.
    """

    def __init__(self, sizes: Mapping[str, int], width: int, *, alpha: float = 0.6, positive: bool = True, negative: bool = True) -> None:
        super().__init__()
        self.width = width
        self.factors = [factor for factor, wanted in ((1.0, positive), (-alpha, negative)) if wanted]
        both = sizes if len(sizes) == 2 else ()
        self.project = nn.ModuleDict({name: nn.Linear(sizes[name], width) for name in both})
        self.taken = nn.ModuleDict({name: nn.Linear(len(self.factors) * sizes[other_modality(name)], width) for name in both})
        self.joint = nn.ModuleDict({name: nn.Linear(size + (width if name in both else 0), width) for name, size in sizes.items()})

    def forward(self, sets: Mapping[str, VectorSet]) -> dict[str, Tensor]:
        """vision [B, T, W], words [B, L, W]: of each modality of `sizes`; what stands where a vector is missing means nothing."""
        projected = {name: layer(sets[name].values).tanh() for name, layer in self.project.items()}
        out = {}
        for name, joint in self.joint.items():
            own = sets[name]
            parts = [own.values]
            if name in projected:
                other = sets[other_modality(name)]
                scores = (projected[name] / self.width) @ projected[other_modality(name)].mT
                weights = masked_softmax(scores, own.present[:, :, None] & other.present[:, None], dim=1)
                found = weights @ other.values
                parts.append(self.taken[name](torch.cat([factor * found for factor in self.factors], dim=2)).tanh())
            out[name] = joint(torch.cat(parts, dim=2)).tanh()
        return out
