"""What of a train split fixes the network: widths of its features, and its mean popularity."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from launch.distributed import broadcast_object
from launch.logs import is_main
from pipeline.feature_member import feature_width
from pipeline.popularity import popularity_of
from pipeline.shards import Sample, ShardSet
from pipeline.shards.readable import readable_samples

MODALITIES = ("vision", "words")
DOMAIN = "video"
"""Domain of the items whose popularity is predicted."""
REMEDY = "mmra learns from frozen features: compute them with python -m pipeline.features --recipe mmra"


@dataclass(frozen=True)
class Sizes:
    """Features of clips, 0: none of them has that modality; and the mean popularity of the train split."""

    vision: int
    words: int
    mean: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able values."""
        return asdict(self)


def sizes_of(shards: ShardSet) -> Sizes:
    """Those of the split's clips. Rank 0 reads them all; all ranks call this together.

    Raises:
        ValueError: no clip has any feature, or one has no popularity.
    """
    return broadcast_object(_read(shards) if is_main() else None)  # type: ignore[return-value]


def known_popularity(sample: Sample) -> float:
    """A training clip's popularity. Raises ValueError where it has none."""
    found = popularity_of(sample.record["labels"], sample.name)
    if found is None:
        raise ValueError(f"{sample.name} has no popularity to learn from; give it a label popularity or leave it out of the corpus")
    return found


def _read(shards: ShardSet) -> Sizes:
    widths = {modality: feature_width(shards, DOMAIN, modality) for modality in MODALITIES}
    if not any(widths.values()):
        raise ValueError(f"{shards.folder}: no {DOMAIN} item has vision.npy or words.npy; {REMEDY}")
    values = [known_popularity(sample) for sample in readable_samples(shards, [DOMAIN])]
    return Sizes(**widths, mean=math.fsum(values) / len(values))
