"""Sets of image regions: read from a sample, cut to the largest, padded to a batch with a mask.

A sample with regions has the members `regions.npy` [n, D], a vector of features a region, and, where the corpus has them, `boxes.npy` [n, 4]
(top, left, bottom, right) and `region_labels.npy` [n].

Legend: B items, n regions of one item, K of the item that has most, D features of a region.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from pipeline.feature_member import read_feature
from pipeline.item import Item
from pipeline.shards import Sample

REGIONS, BOXES, LABELS = "regions", "boxes", "region_labels"

RegionType = Literal["float16", "float32"]


@dataclass(frozen=True)
class KeptRegions:
    """What is packed of the regions of each item."""

    most: int = 0
    """the largest that are kept, by the area of their boxes; the first where there are no boxes; 0 = all"""
    type: RegionType = "float16"
    """of the numbers that are kept"""

    def of(self, item: Item) -> Item:
        """The item with these regions alone, the largest first where some are left out.

        Raises:
            ValueError: a number is too large for float16.
        """
        if not isinstance(item.features.get(REGIONS), np.ndarray):  # none, or a file that is packed as it is
            return item
        features = dict(item.features)
        if self.most and len(features[REGIONS]) > self.most:
            kept = largest(features[BOXES], self.most) if BOXES in features else np.arange(self.most)
            features |= {name: features[name][kept] for name in (REGIONS, BOXES, LABELS) if name in features}
        with np.errstate(over="ignore"):
            regions = np.asarray(features[REGIONS]).astype(self.type)
        if not np.isfinite(regions).all():
            raise ValueError(f"{REGIONS} have a number that is too large for {self.type}; pack them as float32 (--region_type)")
        return replace(item, features=features | {REGIONS: regions})


def areas(boxes: np.ndarray) -> np.ndarray:
    """Areas of boxes [n, 4] (top, left, bottom, right), [n]."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def largest(boxes: np.ndarray, most: int) -> np.ndarray:
    """Rows of the `most` largest of the boxes [n, 4], the largest first; of equals the first."""
    return np.argsort(-areas(boxes), kind="stable")[:most]


def read_regions(sample: Sample, width: int, most: int | None = None) -> np.ndarray | None:
    """The sample's regions, float32 [n, D]; None where it has none. Of more than `most` the largest, or the first where there are no boxes.

    Args:
        width: D that the system was built for.

    Raises:
        ValueError: the regions have another D, or the boxes are not one a region.
    """
    regions = read_feature(sample, REGIONS)
    if regions is None:
        return None
    if regions.ndim != 2 or regions.shape[1] != width:
        raise ValueError(f"{sample.name}: {REGIONS}.npy has the shape {list(regions.shape)}; the system was built for [n, {width}]")
    if most is None or len(regions) <= most:
        return regions
    boxes = read_feature(sample, BOXES)
    if boxes is None:
        return regions[:most]
    if boxes.shape != (len(regions), 4):
        raise ValueError(f"{sample.name}: {BOXES}.npy has the shape {list(boxes.shape)} for {len(regions)} regions; wanted [{len(regions)}, 4]")
    return regions[largest(boxes, most)]


def region_batch(sets: Sequence[np.ndarray | None], width: int, least: int = 1) -> tuple[Tensor, Tensor]:
    """(regions float32 [B, K, D], zeros where an item has fewer than K; mask bool [B, K], True where there is a region). K is at least `least`."""
    longest = max([least, *(len(one) for one in sets if one is not None)])
    regions, mask = np.zeros((len(sets), longest, width), np.float32), np.zeros((len(sets), longest), bool)
    for place, one in enumerate(sets):
        if one is not None:
            regions[place, : len(one)], mask[place, : len(one)] = one, True
    return torch.from_numpy(regions), torch.from_numpy(mask)
