"""An item's popularity from its frames, its words and what became of items like it.

Legend: B items, k neighbours, T frames, L words, C features of vision, D of words, W inside.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from models.fusion.attentive_pooling import AttentivePooling
from models.fusion.bipolar_attention import BipolarAttention
from models.fusion.neighbours import Neighbours
from models.fusion.released_bipolar_attention import ReleasedBipolarAttention
from models.fusion.vector_set import VectorSet, vector_set

Form = Literal["published", "released"]
ATTENTION = {"published": BipolarAttention, "released": ReleasedBipolarAttention}


class PooledAttention(nn.Module):
    """Bipolar attention between the modalities, then attentive pooling of each, with weights of its own: {modality: [B, W]}.

    Args:
        sizes: features of each modality.
        width: W.
        form: of attention and pooling, see there.
        alpha, positive, negative: of the attention.
    """

    def __init__(self, sizes: Mapping[str, int], width: int, form: Form, *, alpha: float, positive: bool, negative: bool) -> None:
        super().__init__()
        released = form == "released"
        self.attention = ATTENTION[form](sizes, width, alpha=alpha, positive=positive, negative=negative)
        self.pooling = nn.ModuleDict({name: AttentivePooling(width, divisor=width if released else 1, bias=released) for name in sizes})

    def forward(self, sets: Mapping[str, VectorSet]) -> dict[str, Tensor]:
        """Zeros for a modality that an item lacks."""
        found = self.attention(sets)
        return {name: pool(found[name], sets[name].present) for name, pool in self.pooling.items()}


class PopularityNetwork(nn.Module):
    """One number for an item: features in, prediction out.

        V, T = pooled attention of the item;   V_r, T_r = pooled attention (other weights) of its neighbours' mean features
        L_r = linear encoding of its neighbours' mean label
        y = MLP( [T ; V ; T_r ; V_r ; L_r ; V*V_r ; V*T_r ; T*V_r ; T*T_r ; V*L_r ; T*L_r] ),   * element by element

    Means over neighbours are weighted by softmax(similarity). An item that lacks a modality has zeros for it, one without neighbours (or whose
    neighbours all lack a modality) zeros for what would come of them: every parameter stays in the graph, as DDP needs it. Where words are a
    single vector, pooling and frames that ask have nothing to choose from: the gradient of those scores is zero, but it is there.

    Source: MMRA as published, which speaks of element and inner products of the item with what was retrieved; that it is these six products, and
    the layers of the MLP, are the release's. form `released`: attention and pooling as the program has them, L_r = ReLU(linear) and no part
    of the MLP's input by itself; tested against the program's numbers.

    The paper's ablations, and what each takes away (what is taken away is not built):
        no retrieval (`retrieval` False): everything of the neighbours, which leaves y = MLP([T ; V])
        no positive, no negative: that sign of the attention, in the item and in the neighbours, and its part of the layer behind it
        no vision (`vision_dim` 0): V, V_r, their products, and with them the attention, since words have nothing to look at
        no text (`words_dim` 0): T, T_r, their products, and the attention likewise
    What each leaves is ours, for the paper tells only their names.

    Args:
        vision_dim: C, 0: vision is not looked at.
        words_dim: D, 0: words are not looked at.
        width: W.
        alpha: a of the attention, from 0 to 1.
        hidden: widths inside the MLP.

    Raises:
        ValueError: no modality, no sign, or alpha out of range.
    """

    def __init__(
        self,
        vision_dim: int,
        words_dim: int,
        *,
        form: Form = "published",
        width: int = 768,
        alpha: float = 0.6,
        retrieval: bool = True,
        positive: bool = True,
        negative: bool = True,
        hidden: Sequence[int] = (800, 200),
    ) -> None:
        super().__init__()
        if not (vision_dim or words_dim):
            raise ValueError("neither vision nor words: nothing to tell popularity from; keep one of the two")
        if not (positive or negative):
            raise ValueError("attention without its positive and without its negative sign: nothing is left of it; keep one of the two")
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha is {alpha}; the positive sign has the factor alpha, the negative one -(1 - alpha): give 0 to 1")
        self.form = form
        sizes = {name: size for name, size in (("vision", vision_dim), ("words", words_dim)) if size}
        half = partial(PooledAttention, sizes, width, form, alpha=alpha, positive=positive, negative=negative)
        self.item = half()
        self.neighbours = half() if retrieval else None
        self.label = nn.Linear(1, width) if retrieval else None
        count = len(sizes)
        blocks = count if not retrieval else 2 * count + count * count + count + (form == "published")
        layers = [layer for before, after in pairwise((blocks * width, *hidden)) for layer in (nn.Linear(before, after), nn.ReLU())]
        self.hidden = nn.Sequential(*layers)
        self.last = nn.Linear(hidden[-1] if hidden else blocks * width, 1)

    def forward(
        self, vision: Tensor, has_vision: Tensor | None, words: Tensor, has_words: Tensor | None, neighbours: Neighbours | None = None
    ) -> Tensor:
        """The prediction, float32 [B], also under autocast.

        Args:
            vision: [B, T, C] (or [B, C]), any number of frames.
            words: [B, D] or [B, L, D].
            has_vision, has_words: bool [B], what an item has, or vector by vector [B, T], [B, L]; None: all.
            neighbours: what was retrieved; not looked at by a network without retrieval.

        Raises:
            ValueError: a network with retrieval gets no neighbours.
        """
        inside = self.hidden(self.joined(vision, has_vision, words, has_words, neighbours))
        with torch.autocast(inside.device.type, enabled=False):  # bfloat16 has no numbers between 16 and 16.125
            return self.last(inside.float())[:, 0]

    def joined(
        self, vision: Tensor, has_vision: Tensor | None, words: Tensor, has_words: Tensor | None, neighbours: Neighbours | None = None
    ) -> Tensor:
        """What the MLP sees, in the order of the formula: [B, blocks W]. Arguments as of `forward`."""
        given = {"vision": (vision, has_vision), "words": (words, has_words)}
        own = self.item({name: vector_set(*given[name]) for name in self.item.pooling})
        blocks = _words_first(own)
        if self.neighbours is not None:
            if neighbours is None:
                raise ValueError("no neighbours given to a network with retrieval; give what was retrieved, or build it with retrieval False")
            near = self.neighbours({name: neighbours.features(name) for name in own})
            label = self._label(neighbours)
            blocks += _words_first(near) + ([label] if self.form == "published" else [])
            blocks += [one * other for one in own.values() for other in near.values()] + [one * label for one in own.values()]
        return torch.cat(blocks, dim=1)

    def _label(self, neighbours: Neighbours) -> Tensor:
        """L_r [B, W] float32, zeros for an item without neighbours."""
        assert self.label is not None
        label = neighbours.label()
        with torch.autocast(label.values.device.type, enabled=False):
            encoded = self.label(label.values[:, 0])
            return (encoded.relu() if self.form == "released" else encoded) * label.present


def _words_first(found: Mapping[str, Tensor]) -> list[Tensor]:
    return [found[name] for name in ("words", "vision") if name in found]
