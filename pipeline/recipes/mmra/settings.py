"""MMRA's choices. Where the release has a flaw that changes numbers, ours is the default and the field says how to get the released numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace

from models.popularity import Form
from pipeline.bank.settings import Bank


@dataclass(frozen=True)
class MMRASettings:
    """The paper's own settings."""

    form: Form = "published"
    """published: bipolar attention as the paper writes it; released: as the program has it, whose checkpoints it loads"""
    width: int = 768
    """width W inside"""
    hidden: tuple[int, ...] = (800, 200)
    """widths inside the MLP"""
    alpha: float = 0.6
    """factor of the attention's positive sign, from 0 to 1; the negative one has alpha - 1 (released: -alpha)"""
    neighbours: int = 10
    """neighbours k of a clip that are looked at, the first of those that pipeline.neighbours kept"""
    temperature: float = 1.0
    """divides similarities before the softmax that weights neighbours, > 0; 1 as published: near a plain mean, since cosines differ by little"""
    bank: Bank = "train"
    """which lists are trained on: train, where training clips have training clips for neighbours; train_val, the same and for clips of test also
    validation clips, as published; released: those in which validation labels are trained on"""
    retrieval: bool = True
    """look at neighbours at all (the paper's ablation without retrieval: false)"""
    positive: bool = True
    """the attention's positive sign (ablation: false)"""
    negative: bool = True
    """the attention's negative sign (ablation: false)"""
    vision: bool = True
    """look at frames (ablation: false)"""
    words: bool = True
    """look at words (ablation: false)"""
    start_at_mean: bool = True
    """begin with the mean popularity of the train split as the prediction (ours); released: false, it begins near 0"""
    remember_mb: int = 512
    """megabytes of neighbours' features that each loading process may keep in memory, so that they are not read again"""
    dropout: float = 0.0
    """share of the features, own and neighbours', that is left out in training (ours, for small corpora)"""


def as_released(settings: MMRASettings) -> MMRASettings:
    """`settings` with the program's attention and its leak: validation labels among the neighbours of training clips."""
    return replace(settings, form="released", bank="released", start_at_mean=False)
