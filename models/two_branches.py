"""Images and captions as two vectors each: what the instance itself says, and what it says in terms of concepts.

Legend: B items, N regions or words of an item, K concepts, W features.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from torch import Tensor, nn

from models.concept_graph import ConceptGraph
from models.concept_query import ConceptQuery
from models.region_encoder import RegionEncoder
from models.word_encoder import TokenEncoder, WordEncoder

Side = Literal["image", "text"]


class BranchVectors(NamedTuple):
    """Both [B, W] of length 1; `concept` is None where there is no concept branch."""

    instance: Tensor
    concept: Tensor | None


class ConceptBranch(nn.Module):
    """The concepts, and how images and captions ask them.

    Args:
        graph: of the concepts.
        width: W.
        label_share: weight of a caption's own concepts (`ConceptQuery`).
        dropout: of the queries.
    """

    def __init__(self, graph: ConceptGraph, width: int, label_share: float, dropout: float = 0.0) -> None:
        super().__init__()
        self.graph = graph
        self.image = ConceptQuery(width, label_share, dropout)
        self.text = ConceptQuery(width, label_share, dropout)

    def forward(self, side: Side, items: Tensor, labels: Tensor | None) -> Tensor:
        """items [B, W], labels [B, K] of captions -> [B, W]."""
        return (self.image if side == "image" else self.text)(items, self.graph(), labels)


class TwoBranches(nn.Module):
    """Encoders of both sides and, over them, the concept branch; one module, so that one slow copy follows it all.

    Source: the two branches of CODER; their parts are those of CVSE.
    """

    def __init__(self, image: RegionEncoder, text: WordEncoder | TokenEncoder, concepts: ConceptBranch | None) -> None:
        super().__init__()
        self.image, self.text, self.concepts = image, text, concepts

    def forward(self, side: Side, values: Tensor, present: Tensor, labels: Tensor | None = None) -> BranchVectors:
        """The vectors of a batch of one side.

        Args:
            values: regions [B, N, D] of images, words [B, N] of captions.
            present: [B, N] bool.
            labels: [B, K] of captions.
        """
        instance = self.image(values, present) if side == "image" else self.text(values, present)
        return BranchVectors(instance, None if self.concepts is None else self.concepts(side, instance, labels))
