"""Choices of the pre-training. Of the paper's own no more is known than its figure shows; what is marked ours was chosen here."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.documents import DocumentSettings


@dataclass(frozen=True)
class PretrainSettings(DocumentSettings):
    """The pre-training's own settings."""

    dim: int = 512
    """dimensions D of the common space; fine-tuning needs the same"""
    temperature: float = 0.07
    """divides the similarities of titles and visions (ours: ALPRO learns it, from this on)"""
    mask_shared_queries: bool = True
    """documents that were found by the query drawn for a document are neither its negatives nor its wrong partners (ours)"""
    heads: int = 8
    """attention heads of the frame integration block"""
    dropout: float = 0.1
    """dropout of the fusion encoder and of towers from scratch; pretrained towers keep their own"""
    cross_layers: int = 12
    """layers of the fusion encoder; 12 as in the release's leftover"""
    cross_width: int = 768
    """width of the fusion encoder"""
    cross_heads: int = 12
    """attention heads of the fusion encoder"""
    places_grid: int = 0
    """the fusion encoder sees an image's places averaged to so many a side; 0 = as the tower gives them, e.g. 14 x 14 patches"""
    matching_weight: float = 1.0
    """weight of video-text matching; 0 = none"""
    masking_weight: float = 1.0
    """weight of masked words; 0 = none"""
    masked_share: float = 0.15
    """share of a document's words that are asked for"""
    prompter: str = ""
    """what scores frames against entity prompts, frozen: a run, a checkpoint, or the transformers folder of a two-tower model; empty = no entity
    prompts"""
    level_words: tuple[str, ...] = ("一级类目", "二级类目", "三级类目")
    """what stands before an entity's name in its prompt, from the coarsest level to the finest; as many as the category paths have levels (ours:
    the figure has a token for each level)"""
    entity_temperature: float = 0.05
    """divides the prompter's similarities before they become targets; small: sharp (ours)"""
    level_weights_first: tuple[float, ...] = (1.0, 1.0, 0.25)
    """weight of each level at the first step; from coarse to fine by the figure, its numbers are ours"""
    level_weights_last: tuple[float, ...] = (0.25, 1.0, 0.75)
    """weight of each level at the last step; linear in between (ours)"""
    entity_goods: int = 200_000
    """goods whose categories are read to know the entities; 0 = all"""
