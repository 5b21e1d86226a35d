"""HSL's choices. Where the release has a flaw that changes numbers, ours is the default and the field says how to get the released numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace

from models.region_scores import Aggregation


@dataclass(frozen=True)
class HSLSettings:
    """The paper's own settings."""

    aggregation: Aggregation = "mean"
    """a query's score with an image's regions: mean (as in the released run) or sum of its products with them, the largest (max, the release's
    default), or the mean of the `top_regions` largest (topk, ours). With mean and sum the score is one product of embeddings; with the
    others embeddings hold the mean, which proposes, and the score itself decides"""
    top_regions: int = 3
    """regions that topk looks at"""
    regions: int = 20
    """most regions of an image, the largest"""
    query_length: int = 40
    """words of a query at most"""
    width: int = 512
    """width inside"""
    dim: int = 1024
    """dimensions of each of the four vectors of an image or a query; embeddings have four times as many"""
    heads: int = 4
    """attention heads"""
    feedforward: int = 2048
    """width inside a transformer layer"""
    image_layers: int = 3
    """transformer layers of each of the two levels of regions"""
    text_layers: int = 2
    """transformer layers of each of the two levels of words"""
    transformer_dropout: float = 0.1
    """share that transformer layers leave out in training"""
    object_dropout: float = 0.1
    """share of the regions' vectors that is left out in training"""
    word_vectors: str = ""
    """text file of word vectors to start from (GloVe); empty = random ones"""
    word_dim: int = 300
    """width of word vectors where no file gives it"""
    least_count: int = 1
    """times that a word occurs in the train split at least to be in the vocabulary"""
    low_weight: float = 0.5
    """weight of the low level's scores and losses beside the top level's"""
    normalise_text: bool = False
    """give queries' vectors length 1; false as in the released run (--no_txtnorm)"""
    temperature: float = 1.0
    """divides scores in the loss; 1 as released"""
    mask_shared_queries: bool = True
    """an image that was found by a query too is not its negative; as released: false"""


def as_released(settings: HSLSettings) -> HSLSettings:
    """`settings` with the flaw of the release: images of the same query as each other's negatives."""
    return replace(settings, mask_shared_queries=False)
