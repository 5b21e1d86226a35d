"""Sets of regions: the largest ones, as a batch with a mask."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.item import Item
from pipeline.packing.members import members_of
from pipeline.packing.tar import write_tar
from pipeline.regions import areas, largest, read_regions, region_batch
from pipeline.shards import Sample, Shard

BOXES = np.array([[0, 0, 2, 2], [1, 1, 4, 5], [0, 0, 2, 2], [0, 0, 1, 9]], np.float32)
"""Areas 4, 12, 4, 9."""
REGIONS = np.arange(8).reshape(4, 2)


def sample(folder: Path, **features: np.ndarray) -> Sample:
    """An item with these features, packed."""
    members = members_of(Item("7", "goods", features=features), folder, None)
    info = write_tar(folder / "goods-000000.tar", domain="goods", role="both", samples=iter([("7", [], members)]))
    return Shard(folder / "goods-000000.tar", info).sample(0)


def test_the_largest_boxes_come_first_and_equals_in_their_order() -> None:
    assert areas(BOXES).tolist() == [4, 12, 4, 9]
    assert largest(BOXES, 3).tolist() == [1, 3, 0] and largest(BOXES, 9).tolist() == [1, 3, 0, 2]


def test_of_too_many_regions_the_largest_are_read(tmp_path: Path) -> None:
    packed = sample(tmp_path, regions=REGIONS.astype(np.float16), boxes=BOXES)

    found = read_regions(packed, 2, most=2)
    every = read_regions(packed, 2)

    assert found is not None and every is not None
    assert found.tolist() == REGIONS[[1, 3]].tolist() and found.dtype == np.float32
    assert every.tolist() == REGIONS.tolist()


def test_without_boxes_the_first_regions_are_read_and_without_regions_none(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()

    found = read_regions(sample(tmp_path, regions=REGIONS), 2, most=3)

    assert found is not None and found.tolist() == REGIONS[:3].tolist()
    assert read_regions(sample(tmp_path / "other", boxes=BOXES), 2) is None


def test_regions_of_another_width_and_boxes_of_another_number_are_refused(tmp_path: Path) -> None:
    packed = sample(tmp_path, regions=REGIONS, boxes=BOXES[:3])

    with pytest.raises(ValueError, match=r"sample 0 \('7'\): regions.npy has the shape \[4, 2\]; the system was built for \[n, 3\]"):
        read_regions(packed, 3)
    with pytest.raises(ValueError, match=r"boxes.npy has the shape \[3, 4\] for 4 regions; wanted \[4, 4\]"):
        read_regions(packed, 2, most=1)


def test_items_of_different_sizes_are_padded_and_masked() -> None:
    regions, mask = region_batch([np.ones((2, 3), np.float32), None, np.full((1, 3), 2, np.float32)], 3)

    assert mask.tolist() == [[True, True], [False, False], [True, False]]
    assert regions.sum(2).tolist() == [[3, 3], [0, 0], [6, 0]]
    assert region_batch([None], 3)[0].shape == (1, 1, 3)
