"""CODER's choices. Of the paper its idea and its results are known, of its figures none: each field says whose figure it has. CVSE is the system that
CODER builds on, USER a later one of the same authors with queues; "ours" is neither's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class CODERSettings:
    """The paper's own settings."""

    width: int = 1024
    """width W of vectors; an embedding has 2 W dimensions, or W without concepts (CVSE's)"""
    text: Literal["words", "tokens"] = "words"
    """what encodes captions: words, a recurrent net over whole words (CVSE's); tokens, the transformers model of --encoders.text (BERT), or a small
    one from scratch"""
    word_vectors: str = ""
    """file of GloVe's vectors, for words and concepts; empty: random ones of word_dim numbers, which words learn and concepts keep"""
    word_dim: int = 300
    """numbers of a word's vector where there is no file (CVSE's)"""
    least_count: int = 4
    """captions' words that the train split has more seldom are unknown words (ours)"""
    caption_length: int = 60
    """words or tokens of a caption at most (ours)"""
    most_regions: int = 36
    """regions of an image at most, the largest, or the first where there are no boxes (CVSE's)"""
    dropout: float = 0.4
    """of regions' and words' features, in pooling and in concept queries (CVSE's)"""
    temperature: float = 0.05
    """divides cosines in all contrasts (ours)"""
    mask_shared_queries: bool = True
    """captions of one image are no negatives of each other's image; false: they are (ours)"""
    queue_size: int = 2048
    """past pairs that stay candidates of both directions, in one queue of each side and branch; 0: those of the batch alone (USER's)"""
    momentum: float = 0.999
    """share of itself that the slow copy keeps at a step; with queues it makes all candidates, and pseudo labels follow from it (USER's)"""
    diversity: float = 0.5
    """power of the weights by which many alike negatives count less: 0, all alike; 1, each kind once (ours, `losses/diversity_weights.py`)"""
    diversity_bandwidth: float = 0.1
    """cosines closer to 1 than about this are of one kind (ours)"""
    concepts: bool = True
    """have the concept branch; false: instances alone"""
    concept_count: int = 300
    """concepts K, the commonest of the captions (CVSE's number; which they are is ours)"""
    concept_hidden: int = 512
    """width inside the graph convolutions (CVSE's)"""
    label_share: float = 0.35
    """weight of a caption's own concepts in what it asks for (CVSE's for Flickr30K; .4 for MSCOCO)"""
    concept_weight: float = 0.5
    """weight of the concept branch's contrast; the instance branch's is 1 (ours)"""
    cluster_weight: float = 0.1
    """weight of the prediction of pseudo labels from concept vectors; 0: none are made; not looked at without concepts (ours)"""
    clusters: int = 128
    """clusters C that pseudo labels name (ours)"""
    cluster_temperature: float = 0.05
    """divides cosines with clusters' centroids: the less, the harder the labels (SwAV's)"""
    cluster_momentum: float = 0.9
    """share of itself that a centroid keeps at a step (ours)"""
    alpha: float = 0.85
    """share of the instance branch in the final similarity (CVSE's for Flickr30K; .9 for MSCOCO)"""
