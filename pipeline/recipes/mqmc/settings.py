"""MQMC's choices. Where the release has a flaw that changes numbers, ours is the default and the field says how to get the released numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from losses.category_weights import Weighting


@dataclass(frozen=True)
class MQMCSettings:
    """The paper's own settings."""

    dim: int = 512
    """dimensions D of the common space"""
    width: int = 1024
    """width of the modalities' vectors, of their fusion and of the query and key encoders"""
    hidden: int = 512
    """width inside the vision encoders"""
    queue_size: int = 2048
    """rows K of each category's queue, one queue for clips and one for goods"""
    momentum: float = 0.999
    """share of itself that a key encoder keeps at each step"""
    temperature: float = 0.07
    """divides products with positives and queues"""
    weighting: Weighting = "intended"
    """weights of negatives by category: intended, 1 in the same middle category, less the farther its centroid (norms over categories: ours);
    released, nearly 1 everywhere; none"""
    feature_contrast: Literal["softmax", "released"] = "softmax"
    """contrast of the modalities' vectors: softmax, InfoNCE in both directions (ours); released, sums of similarities over 100"""
    feature_temperature: float = 0.07
    """softmax feature contrast: divides cosines (ours)"""
    label_map: Literal["data", "released"] = "data"
    """which middle categories an upper category's centroid is the mean of: data, all of its own; released, without the numbers 8 and 18 of MVS"""
    empty_slots: Literal["absent", "random"] = "absent"
    """queue rows that nothing was put into yet: absent, neither negatives nor parts of centroids; random, unit vectors, as released"""
    mask_shared_queries: bool = True
    """rows of the same product are not negatives of each other; as released: false"""
    contrast_weight: float = 0.8
    """weight of the two directions of contrast with the queues, added up"""
    cross_weight: float = 0.1
    """weight of the feature contrast across instances: clip's vision with good's vision, clip's words with good's words"""
    intra_weight: float = 0.1
    """weight of the feature contrast within an instance: its vision with its words"""
    scale_features: bool = False
    """give each feature vector the length of the root of its width before anything else (ours); false as published: as it comes"""
    dropout: float = 0.0
    """share of the features that is left out in training (ours, for small corpora)"""
    noise_within: float = 0.0
    """noise on clips' vision in training, of the kind that two clips of one product differ by; 1: as much as is there (ours, for small corpora)"""
    noise_isotropic: float = 0.0
    """the same in all directions, in standard deviations within a product (ours, for small corpora)"""
    normalise: bool = False
    """embeddings of length 1, so that scores are the cosines that training compares (ours); false as published: inner products of what comes out"""
    batch_norm: Literal["own", "synchronised"] = "own"
    """batch normalisation over each rank's own rows (checkpoints hold rank 0's running statistics), or over those of all ranks"""
    contrast_tile: int = 2048
    """queue rows compared at a time; a tile of batch x this many numbers should fit the processor's cache"""


def as_released(settings: MQMCSettings) -> MQMCSettings:
    """`settings` with the flaws of the release: inert weights, a feature contrast that is none, two middle categories in no upper one, random rows in
    queues, rows of the same product as negatives."""
    return replace(settings, weighting="released", feature_contrast="released", label_map="released", empty_slots="random", mask_shared_queries=False)
