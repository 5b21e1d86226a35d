"""Photos of the sample products as a detector sees them: boxes, what is in them, and a vector of features for each.

The features are measured on the drawn photo, by no model: how strong edges of eight directions are in each of 6 x 6 cells of a box, and the mean
colours of 3 x 3 parts of it. Boxes are those of what was drawn, a little off, and a few that hold nothing in particular.

Legend: n boxes, D features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from pipeline.sources.procedural.drawing import clutter_sprite
from pipeline.sources.procedural.goods import CATEGORIES, Product

SIDE = 192
"""Width and height of a photo, pixels."""
CROP, CELLS, DIRECTIONS, COLOURS = 48, 6, 8, 3
WIDTH = CELLS * CELLS * DIRECTIONS + 3 * COLOURS * COLOURS
"""D."""
CLUTTER_CLASS, GROUND_CLASS = len(CATEGORIES), len(CATEGORIES) + 1
"""Classes of boxes; those below are the categories of products."""


@dataclass(frozen=True)
class Photo:
    """What a detector says of a photo: `boxes` float32 [n, 4] (top, left, bottom, right), `features` float32 [n, D], `classes` int64 [n]."""

    boxes: np.ndarray
    features: np.ndarray
    classes: np.ndarray


def photo_of(product: Product, others: Sequence[Product], sprite: Callable[[Product], Image.Image], rng: np.random.Generator) -> Photo:
    """A photo of a product among smaller ones and clutter.

    Args:
        sprite: gives a product's picture on a transparent ground.
    """
    picture = Image.fromarray(np.broadcast_to(rng.integers(150, 256, 3, dtype=np.uint8), (SIDE, SIDE, 3)).copy())
    boxes: list[tuple[float, float, float, float]] = []
    classes: list[int] = []
    shown = [(clutter_sprite(rng), CLUTTER_CLASS, (30, 60))] if rng.random() < 0.5 else []
    shown += [(sprite(other), CATEGORIES.index(other.category), (40, 75)) for other in others]
    for drawn, kind, sides in (*shown, (sprite(product), CATEGORIES.index(product.category), (110, 160))):
        side = int(rng.integers(*sides))
        left, top = (int(place) for place in rng.integers(0, SIDE - side, 2))
        small = drawn.resize((side, side), Image.Resampling.BILINEAR)
        picture.paste(small, (left, top), small)
        box = np.array([top, left, top + side, left + side]) + rng.normal(0, 0.03 * side, 4)
        boxes.append(tuple(np.clip(box, 0, SIDE).tolist()))
        classes.append(kind)
    for _ in range(int(rng.integers(1, 3))):
        side = int(rng.integers(30, 100))
        left, top = rng.integers(0, SIDE - side, 2).tolist()
        boxes.append((top, left, top + side, left + side))
        classes.append(GROUND_CLASS)
    order = rng.permutation(len(boxes))
    features = np.stack([_features(picture, boxes[place]) for place in order])
    return Photo(np.array([boxes[place] for place in order], np.float32), features, np.array(classes)[order])


def _features(picture: Image.Image, box: tuple[float, float, float, float]) -> np.ndarray:
    """float32 [D] of one box."""
    top, left, bottom, right = box
    crop = picture.resize((CROP, CROP), Image.Resampling.BILINEAR, box=(left, top, right, bottom))
    pixels = np.asarray(crop, np.float32) / 255
    down, along = np.gradient(pixels.mean(axis=2))
    strength = np.hypot(down, along)
    direction = ((np.arctan2(down, along) / np.pi % 1) * DIRECTIONS).astype(int) % DIRECTIONS
    cell = np.arange(CROP) // (CROP // CELLS)
    place = (cell[:, None] * CELLS + cell) * DIRECTIONS + direction
    edges = np.bincount(place.ravel(), strength.ravel(), CELLS * CELLS * DIRECTIONS)
    edges = np.sqrt(edges / max(float(edges.sum()), 1e-6) * CELLS)
    colours = np.asarray(crop.resize((COLOURS, COLOURS), Image.Resampling.BOX), np.float32).ravel() / 255 - 0.5
    return np.concatenate([edges, colours]).astype(np.float32)
