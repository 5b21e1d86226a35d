"""Little corpora of the MVS layout."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.item import Item
from pipeline.sources import Entry, Rejected
from pipeline.sources.mvs import MVS, product_id
from tests.pipeline.corpora import write_files

TREE = {
    "name": "all",
    "children": [
        {
            "name": "Food",
            "children": [{"name": "Fruit", "children": [{"name": "Kiwi"}, {"name": "Lime"}]}, {"name": "Bread", "children": [{"name": "Rye"}]}],
        },
        {"name": "Home", "children": [{"name": "Tea", "children": [{"name": "Kettle"}, {"name": "Pot"}]}]},
    ],
}
"""2, 3 and 5 categories; walked: Food, Home; Fruit, Bread, Tea; Kiwi, Lime, Rye, Kettle, Pot."""

WIDTHS = (2, 3, 5)
KIWI, LIME, RYE, KETTLE, POT = (0, 0, 0), (0, 0, 1), (0, 1, 2), (1, 2, 3), (1, 2, 4)


def hot(place: int, width: int) -> np.ndarray:
    return np.eye(width, dtype=np.float32)[place]


def pair(
    number: int, category: tuple[int, int, int] = KIWI, widths: tuple[int, ...] = WIDTHS, product: int | None = None, **changed: Any
) -> dict[str, Any]:
    """A pair of a clip and its product whose numbers follow from `number`, or those of the product from `product`; `changed` keys last."""
    clip, good = np.random.default_rng(number), np.random.default_rng((1, number if product is None else product))
    value: dict[str, Any] = {
        "video": clip.normal(size=(1, 6)).astype(np.float32),
        "img": good.normal(size=5).astype(np.float32),
        "videotext": clip.normal(size=4).astype(np.float32),
        "imgtext": good.normal(size=4).astype(np.float32),
        "queue_index": np.int64(category[1]),
    }
    for key, place, width in zip(("first_cluster", "second_cluster", "third_cluster"), category, widths):
        value[key] = hot(place, width)
    return value | changed


def write_mvs(root: Path, pairs: list[Any], split: str = "train", family: str = "MVS", protocol: int = 4) -> Path:
    """Write the file of a split, and return the corpus' root."""
    return write_files(root, {f"{family}_{split}_dataset.pkl": pickle.dumps(pairs, protocol)})


def listed(root: Path, split: str = "train") -> list[Entry | Rejected]:
    return list(MVS(root).entries(split))


def items(root: Path, split: str = "train") -> dict[str, Item]:
    """The items of a split by id, in their order."""
    source = MVS(root)
    return {entry.id: source.read(entry) for entry in source.entries(split) if isinstance(entry, Entry)}


def product(number: int, **changed: Any) -> str:
    """The id of the product of `pair(number)`."""
    value = pair(0, product=number, **changed)
    arrays = {name: np.asarray(value[key], np.float32) for name, key in (("vision", "img"), ("words", "imgtext"))}
    return product_id({name: array for name, array in arrays.items() if array.any()})


def named(root: Path, split: str = "train") -> list[list[str]]:
    """The category names of the split's clips."""
    return [item.labels["category"] for item in items(root, split).values() if item.domain == "video"]


def with_tree(root: Path, tree: Any = TREE, name: str = "ontology.json") -> Path:
    return write_files(root, {name: json.dumps(tree)})


def many(count: int) -> list[dict[str, Any]]:
    """Pairs with three clips to a product."""
    return [pair(number, (KIWI, LIME, RYE, KETTLE, POT)[number // 3 % 5], product=number // 3) for number in range(count)]
