"""QCD's choices. Where the release has a flaw that changes numbers, ours is the default and the field says how to get the released numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from pipeline.documents import DocumentSettings


@dataclass(frozen=True)
class QCDSettings(DocumentSettings):
    """The paper's own settings."""

    dim: int = 512
    """dimensions D of the common space"""
    temperature: float = 0.05
    """divides similarities; the release uses 1 / 20"""
    normalise_query: bool = True
    """compare cosines; as released: false (the query side keeps its length)"""
    attend_padding: bool = False
    """let the text tower attend to padding, texts padded to their greatest length; as released: true"""
    mask_shared_queries: bool = True
    """a document that was also found by a query is not its negative; as released: false"""
    count_padding: bool = False
    """let padding count as words to reconstruct; as released: true"""
    token_type_zero: bool = False
    """the decoder adds the embedding of token 0 at every position; as released: true"""
    distance_weight: float = 10.0
    """weight of mean((fusion - vision)^2)"""
    generation_weight: float = 1.0
    """weight of query reconstruction; 0 = no decoder"""
    decoder_layers: int = 4
    """layers of the decoder"""
    decoder_width: int = 512
    """width of the decoder"""
    decoder_positions: int = 0
    """positions of the decoder, where more than query_length (released weights have 32)"""
    heads: int = 8
    """attention heads of the decoder and of the frame integration block"""
    dropout: float = 0.1
    """dropout of the decoder and of towers from scratch; pretrained towers keep their own"""
    contrast_tile: int = 0
    """compare with so many candidates at a time, so that memory does not grow with the square of the batch; 0 = all at once"""
    image_text: Literal["none", "plain", "momentum"] = "plain"
    """contrast of a document's words with its own frames: plain, or against slow copies and their queue with soft targets"""
    image_text_weight: float = 1.0
    """weight of that contrast"""
    image_text_released: bool = False
    """compute and log it without adding it to the loss; as released: true"""
    image_text_queue: int = 65536
    """momentum: rows of the queue"""
    image_text_soft: float = 0.4
    """momentum: weight of the soft targets"""
    momentum: float = 0.995
    """momentum: share of itself that a slow copy keeps at each step"""
    memory_batches: int = 0
    """batches whose queries and fused documents stay candidates (cross-batch memory); the release has it as an option, with 10"""
    cyclip_weight: float = 0.0
    """weight of the CyCLIP terms of query and fusion; the release has them as an option, with 0.25"""
    ranking_weight: float = 0.0
    """weight of a margin ranking of query and fusion, hardest negatives; the release has one as an option, its form is ours"""
    ranking_margin: float = 0.2
    """margin of the ranking, in cosine"""
    cluster_weight: float = 0.0
    """weight of the cross-entropy that tells the query's cluster from the fusion; the release has a classifier as an option, its form is ours"""
    clusters: int = 10
    """number of clusters that are told apart: ids 0 to this of the clusters' level 0"""


def as_released(settings: QCDSettings, **changes: Any) -> QCDSettings:
    """`settings` with the flaws of the release that its weights were trained with: padding attended and reconstructed, query side not normalised,
    token 0 added in the decoder, shared queries as negatives, image-text contrast computed and not added."""
    return replace(
        settings,
        attend_padding=True,
        count_padding=True,
        normalise_query=False,
        token_type_zero=True,
        mask_shared_queries=False,
        image_text="plain",
        image_text_released=True,
        **changes,
    )
