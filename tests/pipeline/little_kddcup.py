"""KDD Cup files whose regions are known, a few rows each; what a row looks like when it is whole, and how to break it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from pipeline.sources.kddcup_rows import COLUMNS, HEAD

WIDTH = 6
NOUNS, COLOURS = ("shoes", "bag", "lamp", "coat", "kettle", "ring"), ("red", "blue", "green", "white")


def encoded(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def row(product: object, query: str, query_id: object, regions: np.ndarray, boxes: np.ndarray | None = None, **columns: object) -> str:
    """A line of a file; `columns` take the place of what it would have there."""
    count = len(regions)
    boxes = np.tile(np.array([0, 0, 10, 10], np.float32), (count, 1)) if boxes is None else boxes
    values: dict[str, object] = {"product_id": product, "image_h": 640, "image_w": 480, "num_boxes": count, "boxes": encoded(boxes)}
    values |= {"features": encoded(regions.astype("<f4")), "class_labels": encoded(np.arange(count, dtype="<i8")), "query": query}
    values |= {"query_id": query_id} | columns
    return "\t".join(str(values[name]) for name in COLUMNS)


def write_rows(path: Path, rows: Iterable[str], head: bool = True) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in ([HEAD.decode()] if head else []) + list(rows)))
    return path


def write_little_kddcup(root: Path, *, photos: int = 6, candidates: int = 12, seed: int = 0) -> Path:
    """`photos` training products of each of 24 things ("red shoes"); validation and test queries for one new product each, among `candidates`.

    A region shows a thing: a noun's vector beside a colour's, with noise. A photo has two to four regions of its thing and up to two of others.
    """
    rng = np.random.default_rng(seed)
    nouns, colours = rng.standard_normal((len(NOUNS), WIDTH)), rng.standard_normal((len(COLOURS), WIDTH))
    things = [(noun, colour) for noun in range(len(NOUNS)) for colour in range(len(COLOURS))]
    numbers = iter(range(100, 100_000))

    def photo(thing: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        others = [things[place] for place in rng.integers(len(things), size=rng.integers(3))]
        shown = [thing] * int(rng.integers(2, 5)) + others
        regions = np.stack([nouns[noun] + colours[colour] + 0.3 * rng.standard_normal(WIDTH) for noun, colour in shown])
        sides = np.concatenate([rng.uniform(80, 120, len(shown) - len(others)), rng.uniform(10, 40, len(others))])
        return regions, np.stack([0 * sides, 0 * sides, sides, sides], axis=1).astype(np.float32)

    def words(thing: tuple[int, int]) -> str:
        return f"{COLOURS[thing[1]]} {NOUNS[thing[0]]}"

    train = [row(next(numbers), words(thing), next(numbers), *photo(thing)) for thing in things for _ in range(photos)]
    write_rows(root / "train.tsv", [train[place] for place in rng.permutation(len(train))])
    for name in ("valid", "testA"):
        photos_of = {thing: (next(numbers), *photo(thing)) for thing in things}
        rows, answers = [], {}
        for number, thing in enumerate(things):
            pool = [thing] + [things[place] for place in rng.permutation(len(things)) if things[place] != thing][: candidates - 1]
            pool = [pool[place] for place in rng.permutation(len(pool))]
            rows += [row(photos_of[one][0], words(thing), number, *photos_of[one][1:]) for one in pool]
            answers[str(number)] = [photos_of[thing][0]]
        write_rows(root / f"{name}.tsv", rows)
        if name == "valid":
            (root / "valid_answer.json").write_text(json.dumps(answers))
    return root
