"""Objects of the sample corpus as pictures: products, catalogue images, and the clutter that lies about in clips.

Everything is drawn at twice the wanted size and then halved, which smooths the edges.
"""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageChops, ImageDraw

from launch.seeds import generator
from pipeline.sources.procedural.goods import PALETTES, PATTERNS, Colour, Product
from pipeline.sources.procedural.silhouettes import Arc, Ellipse, Line, Polygon, Rounded, Stroke, silhouette

SPRITE = 144
"""Width and height of a product's picture, pixels."""

CATALOGUE = 128
"""Width and height of a catalogue image, pixels."""

CLUTTER = 64
"""Width and height of a clutter object's picture, pixels."""

INK: Colour = (30, 28, 34)
PATCH: Colour = (250, 248, 244)


def product_sprite(product: Product, seed: int) -> Image.Image:
    """The product on a transparent ground, SPRITE x SPRITE, RGBA."""
    shape = silhouette(product)
    ground, figure, trim = PALETTES[product.palette]
    size = 2 * SPRITE
    picture = Image.new("RGBA", (size, size), (*trim, 0))
    _fill(picture, _mask(shape.behind, size), trim)
    body = _mask(shape.body, size)
    du, dv = generator(seed, "phase", product.number).random(2)
    surface = Image.new("RGB", (size, size), ground)
    surface.paste(figure, mask=_pattern(product.pattern, size, du, dv))
    picture.paste(_shaded(surface), mask=body)
    picture.putalpha(ImageChops.lighter(picture.getchannel("A"), body))
    _fill(picture, _mask(shape.before, size), trim)
    _emblem(picture, product.emblem, *shape.emblem)
    return picture.resize((SPRITE, SPRITE), Image.Resampling.BOX)


def catalogue_image(product: Product, seed: int) -> Image.Image:
    """The product upright on a clean, nearly white ground with a soft shadow, CATALOGUE x CATALOGUE, RGB."""
    rng = generator(seed, "catalogue", product.number)
    grey = int(rng.integers(244, 256))
    picture = Image.new("RGB", (CATALOGUE, CATALOGUE), (grey, grey, grey))
    side = int(CATALOGUE * rng.uniform(0.8, 0.92))
    left, top = (CATALOGUE - side) // 2, (CATALOGUE - side) // 2
    ImageDraw.Draw(picture).ellipse((left + side * 0.15, top + side * 0.92, left + side * 0.85, top + side * 1.02), fill=(grey - 22,) * 3)
    sprite = product_sprite(product, seed).resize((side, side), Image.Resampling.BILINEAR)
    picture.paste(sprite, (left, top), sprite)
    return picture


def clutter_sprite(rng: np.random.Generator) -> Image.Image:
    """Some object that is no product (a box, a ball, a leaf, a shard), plain or patterned like products are, CLUTTER x CLUTTER, RGBA."""
    size = 2 * CLUTTER
    corners = int(rng.integers(3, 8))
    angles = np.sort(rng.random(corners)) * 2 * math.pi
    shapes: tuple[Stroke, ...] = (
        Ellipse((0.1, 0.2, 0.9, 0.8)),
        Rounded((0.08, 0.25, 0.92, 0.75), 0.05),
        Polygon(((0.5, 0.02), (0.75, 0.4), (0.5, 0.98), (0.25, 0.4))),
        Polygon(tuple((0.5 + 0.46 * math.cos(a), 0.5 + 0.46 * math.sin(a)) for a in angles)),
        Arc((0.1, 0.1, 0.9, 0.9), 20, 340, 0.16),
    )
    mask = _mask((shapes[int(rng.integers(len(shapes)))],), size)
    ground, figure, _ = PALETTES[int(rng.integers(len(PALETTES)))]
    surface = Image.new("RGB", (size, size), ground)
    if rng.random() < 0.6:
        pattern = list(PATTERNS)[int(rng.integers(len(PATTERNS)))]
        surface.paste(figure, mask=_pattern(pattern, size, *rng.random(2)))
    picture = _shaded(surface).convert("RGBA")
    picture.putalpha(mask)
    return picture.resize((CLUTTER, CLUTTER), Image.Resampling.BOX)


def _fill(picture: Image.Image, mask: Image.Image, colour: Colour) -> None:
    picture.paste((*colour, 255), mask=mask)


def _mask(strokes: tuple[Stroke, ...], size: int) -> Image.Image:
    mask = Image.new("L", (size, size))
    draw = ImageDraw.Draw(mask)
    for stroke in strokes:
        if isinstance(stroke, Rounded):
            draw.rounded_rectangle(_scaled(stroke.box, size), stroke.radius * size, fill=255)
        elif isinstance(stroke, Ellipse):
            draw.ellipse(_scaled(stroke.box, size), fill=255)
        elif isinstance(stroke, Polygon):
            draw.polygon([(x * size, y * size) for x, y in stroke.points], fill=255)
        elif isinstance(stroke, Arc):
            draw.arc(_scaled(stroke.box, size), stroke.start, stroke.end, fill=255, width=round(stroke.width * size))
        elif isinstance(stroke, Line):
            draw.line([(x * size, y * size) for x, y in stroke.points], fill=255, width=round(stroke.width * size), joint="curve")
    return mask


def _scaled(box: tuple[float, float, float, float], size: int) -> tuple[float, float, float, float]:
    left, top, right, bottom = box
    return left * size, top * size, right * size, bottom * size


def _shaded(surface: Image.Image) -> Image.Image:
    """The surface as if it were round: darker towards the right-hand edge."""
    fall = np.linspace(1.06, 0.78, surface.width, dtype=np.float32)[None, :, None]
    return Image.fromarray(np.clip(np.asarray(surface, dtype=np.float32) * fall, 0, 255).astype(np.uint8))


def _pattern(name: str, size: int, du: float, dv: float) -> Image.Image:
    """Where the pattern's figure colour goes: a mask of `size` x `size`, moved by the phases `du`, `dv` (periods, 0 to 1)."""
    u = np.arange(size, dtype=np.float32)[None, :] / size
    v = u.T
    if name == "stripes":
        figure = (v / 0.22 + dv) % 1 < 0.5
    elif name == "pinstripes":
        figure = (u / 0.16 + du) % 1 < 0.36
    elif name == "diagonal":
        figure = ((u + v) / 0.28 + du) % 1 < 0.5
    elif name == "dots":
        figure = np.hypot((u / 0.22 + du) % 1 - 0.5, (v / 0.22 + dv) % 1 - 0.5) < 0.32
    elif name == "checks":
        figure = ((u / 0.32 + du) % 1 < 0.5) ^ ((v / 0.32 + dv) % 1 < 0.5)
    elif name == "zigzag":
        figure = ((v + 0.3 * np.abs((u / 0.26 + du) % 1 - 0.5)) / 0.22 + dv) % 1 < 0.5
    elif name == "rings":
        figure = (np.hypot(u - 0.5, v - 0.55) / 0.19 + du) % 1 < 0.5
    elif name == "blots":
        figure = np.sin(9 * u + 4 * np.sin(6 * v + 6 * du)) + np.sin(11 * v + 3 * np.sin(8 * u + 6 * dv)) > 0.3
    elif name == "halves":
        figure = u + 0.2 * (du - 0.5) < 0.5
    elif name == "triangles":
        row = v / 0.24 + dv
        figure = np.abs((u / 0.26 + du + 0.5 * (np.floor(row) % 2)) % 1 - 0.5) < 0.46 * (row % 1)
    else:
        raise ValueError(f"no pattern named {name!r}")
    return Image.fromarray(np.broadcast_to(figure, (size, size)).astype(np.uint8) * 255)


def _emblem(picture: Image.Image, name: str, x: float, y: float, radius: float) -> None:
    """Draw a white patch with a dark sign on it, centred on (x, y); lengths in units of the picture's side."""
    size = picture.width
    draw = ImageDraw.Draw(picture)

    def at(px: float, py: float) -> tuple[float, float]:
        return (x + radius * px) * size, (y + radius * py) * size

    draw.ellipse((*at(-1, -1), *at(1, 1)), fill=PATCH, outline=INK, width=round(0.012 * size))
    if name == "star":
        tips = [(0.82 * (1 if i % 2 == 0 else 0.4), math.pi * (i / 5 - 0.5)) for i in range(10)]
        draw.polygon([at(r * math.cos(a), r * math.sin(a)) for r, a in tips], fill=INK)
    elif name == "heart":
        draw.ellipse((*at(-0.66, -0.58), *at(0.04, 0.12)), fill=INK)
        draw.ellipse((*at(-0.04, -0.58), *at(0.66, 0.12)), fill=INK)
        draw.polygon([at(-0.63, -0.1), at(0.63, -0.1), at(0, 0.72)], fill=INK)
    elif name == "moon":
        draw.ellipse((*at(-0.7, -0.7), *at(0.7, 0.7)), fill=INK)
        draw.ellipse((*at(-0.2, -0.72), *at(0.9, 0.52)), fill=PATCH)
    elif name == "cross":
        draw.rectangle((*at(-0.2, -0.7), *at(0.2, 0.7)), fill=INK)
        draw.rectangle((*at(-0.7, -0.2), *at(0.7, 0.2)), fill=INK)
    elif name == "bolt":
        draw.polygon([at(0.25, -0.8), at(-0.5, 0.15), at(-0.05, 0.15), at(-0.25, 0.8), at(0.5, -0.15), at(0.05, -0.15)], fill=INK)
    elif name == "ring":
        draw.ellipse((*at(-0.6, -0.6), *at(0.6, 0.6)), outline=INK, width=round(0.32 * radius * size))
    else:
        raise ValueError(f"no emblem named {name!r}")
