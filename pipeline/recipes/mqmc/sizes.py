"""Widths of the features in a shard set: those that the corpus has, not those that a paper had."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from launch.distributed import broadcast_object
from launch.logs import is_main
from pipeline import feature_member
from pipeline.item import CLIPS
from pipeline.shards import Sample, ShardSet

MODALITIES = ("vision", "words")
SIDES = {"video": CLIPS, "goods": ("goods",)}
"""The two sides of MQMC and the domains of their items."""
REMEDY = "mqmc learns from frozen features: pack a corpus that has them (MVS), or compute them with python -m pipeline.features"


@dataclass(frozen=True)
class SideSizes:
    """Features of one side's items; 0: none of them has that modality."""

    vision: int
    words: int


@dataclass(frozen=True)
class Sizes:
    """Features of both sides' items."""

    video: SideSizes
    goods: SideSizes

    def of(self, domain: str) -> SideSizes:
        """Those of an item's domain. Raises ValueError for one that is on neither side."""
        return getattr(self, side_of(domain))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able values; `from_dict` reads them back."""
        return asdict(self)

    @staticmethod
    def from_dict(values: dict[str, Any]) -> Sizes:
        return Sizes(**{side: SideSizes(**sizes) for side, sizes in values.items()})


def side_of(domain: str) -> str:
    """ "video" or "goods" for an item's domain. Raises ValueError for one that is on neither side."""
    for side, domains in SIDES.items():
        if domain in domains:
            return side
    raise ValueError(f"mqmc embeds clips and goods; it has no vector for items of domain {domain}")


def read_feature(sample: Sample, modality: str) -> np.ndarray | None:
    """The sample's features of a modality, float32 [C], the mean over frames where they are kept apart; None where it lacks the modality.

    Raises:
        ValueError: the member is no array of one or two axes, or has numbers that are not finite.
    """
    array = feature_member.read_feature(sample, modality)
    return array.mean(axis=0) if array is not None and array.ndim == 2 else array


def sizes_of(shards: ShardSet) -> Sizes:
    """The widths of the first sample of each side that has the modality. Rank 0 reads; all ranks call this together.

    Raises:
        ValueError: no item of a side has any feature.
    """
    return broadcast_object(_read(shards) if is_main() else None)  # type: ignore[return-value]


def _read(shards: ShardSet) -> Sizes:
    found: dict[str, SideSizes] = {}
    for side, domains in SIDES.items():
        widths = dict.fromkeys(MODALITIES, 0)
        for domain in domains:
            widths = {modality: width or feature_member.feature_width(shards, domain, modality) for modality, width in widths.items()}
        if not any(widths.values()):
            raise ValueError(f"{shards.folder}: no {side} item has vision.npy or words.npy; {REMEDY}")
        found[side] = SideSizes(**widths)
    return Sizes(**found)
