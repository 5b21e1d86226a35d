"""The silhouettes of the sample corpus's products: for each category and build the body, the trim and the place of the emblem.

All coordinates are in the unit square, x to the right and y down.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pipeline.sources.procedural.goods import Product

Box = tuple[float, float, float, float]
Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Rounded:
    """A filled box with round corners."""

    box: Box
    radius: float


@dataclass(frozen=True)
class Ellipse:
    """A filled ellipse."""

    box: Box


@dataclass(frozen=True)
class Polygon:
    """A filled polygon."""

    points: Points


@dataclass(frozen=True)
class Arc:
    """A stroke along an ellipse, angles in degrees clockwise from three o'clock."""

    box: Box
    start: float
    end: float
    width: float


@dataclass(frozen=True)
class Line:
    """A stroke along points."""

    points: Points
    width: float


Stroke = Rounded | Ellipse | Polygon | Arc | Line


@dataclass(frozen=True)
class Silhouette:
    """What a category looks like in one build: the patterned body, the plain trim behind and before it, the emblem's centre (x, y) and radius."""

    body: tuple[Stroke, ...]
    behind: tuple[Stroke, ...] = ()
    before: tuple[Stroke, ...] = ()
    emblem: tuple[float, float, float] = (0.5, 0.55, 0.18)


def silhouette(product: Product) -> Silhouette:
    """The silhouette of the product's category and build."""
    return SILHOUETTES[product.category.name.english][product.build]


def _mug(two_handled: bool) -> Silhouette:
    left, right = (0.24, 0.76) if two_handled else (0.12, 0.7)
    handles: tuple[Stroke, ...] = (Arc((right - 0.14, 0.32, right + 0.18, 0.72), -90, 90, 0.06),)
    if two_handled:
        handles += (Arc((left - 0.18, 0.32, left + 0.14, 0.72), 90, 270, 0.06),)
    return Silhouette((Rounded((left, 0.16, right, 0.88), 0.07),), behind=handles, emblem=((left + right) / 2, 0.54, 0.18))


def _bottle(straw: bool) -> Silhouette:
    top: tuple[Stroke, ...]
    if straw:
        top = (Rounded((0.38, 0.2, 0.62, 0.3), 0.03), Line(((0.5, 0.22), (0.5, 0.08), (0.66, 0.04)), 0.05))
    else:
        top = (Rounded((0.4, 0.06, 0.6, 0.26), 0.02),)
    body = Polygon(((0.4, 0.26), (0.6, 0.26), (0.72, 0.4), (0.72, 0.95), (0.28, 0.95), (0.28, 0.4)))
    return Silhouette((body,), behind=top, emblem=(0.5, 0.64, 0.17))


def _teapot(tall: bool) -> Silhouette:
    if tall:
        body: tuple[Stroke, ...] = (Polygon(((0.34, 0.2), (0.66, 0.2), (0.76, 0.9), (0.24, 0.9))),)
        trim = (Polygon(((0.27, 0.62), (0.06, 0.3), (0.13, 0.27), (0.32, 0.5))), Arc((0.58, 0.32, 0.92, 0.76), -90, 90, 0.06))
        return Silhouette(body, trim, (Ellipse((0.44, 0.08, 0.56, 0.2)), Rounded((0.33, 0.18, 0.67, 0.25), 0.02)), (0.5, 0.58, 0.17))
    body = (Ellipse((0.2, 0.28, 0.78, 0.88)),)
    trim = (Polygon(((0.26, 0.66), (0.02, 0.4), (0.09, 0.35), (0.3, 0.48))), Arc((0.64, 0.38, 0.98, 0.76), -90, 90, 0.06))
    return Silhouette(body, trim, (Ellipse((0.43, 0.15, 0.55, 0.27)), Rounded((0.35, 0.25, 0.63, 0.33), 0.03)), (0.49, 0.6, 0.155))


def _vase(flared: bool) -> Silhouette:
    if flared:
        body: tuple[Stroke, ...] = (Polygon(((0.16, 0.08), (0.84, 0.08), (0.64, 0.5), (0.66, 0.92), (0.34, 0.92), (0.36, 0.5))),)
        return Silhouette(body, before=(Rounded((0.3, 0.88, 0.7, 0.95), 0.02),), emblem=(0.5, 0.3, 0.155))
    body = (Ellipse((0.2, 0.4, 0.8, 0.94)), Polygon(((0.42, 0.08), (0.58, 0.08), (0.6, 0.5), (0.4, 0.5))))
    return Silhouette(body, before=(Rounded((0.36, 0.05, 0.64, 0.11), 0.03),), emblem=(0.5, 0.67, 0.18))


def _lamp(dome: bool) -> Silhouette:
    if dome:
        shade: tuple[Stroke, ...] = (Polygon(tuple((0.5 - 0.4 * math.cos(a), 0.56 - 0.5 * math.sin(a)) for a in np.linspace(0, math.pi, 24))),)
    else:
        shade = (Polygon(((0.36, 0.06), (0.64, 0.06), (0.9, 0.58), (0.1, 0.58))),)
    return Silhouette(shade, behind=(Line(((0.5, 0.5), (0.5, 0.9)), 0.06), Rounded((0.3, 0.88, 0.7, 0.96), 0.03)), emblem=(0.5, 0.38, 0.15))


def _cushion(round_: bool) -> Silhouette:
    if round_:
        return Silhouette((Ellipse((0.08, 0.08, 0.92, 0.92)),), before=(Arc((0.08, 0.08, 0.92, 0.92), 0, 360, 0.03),), emblem=(0.5, 0.5, 0.18))
    edge = ((0.06, 0.06), (0.5, 0.13), (0.94, 0.06), (0.87, 0.5), (0.94, 0.94), (0.5, 0.87), (0.06, 0.94), (0.13, 0.5))
    return Silhouette((Polygon(edge),), before=(Line((*edge, edge[0]), 0.03),), emblem=(0.5, 0.5, 0.18))


def _shirt(long_sleeved: bool) -> Silhouette:
    trunk = Polygon(((0.28, 0.12), (0.42, 0.12), (0.5, 0.18), (0.58, 0.12), (0.72, 0.12), (0.72, 0.92), (0.28, 0.92)))
    if long_sleeved:
        sleeves: tuple[Stroke, ...] = (
            Polygon(((0.3, 0.12), (0.02, 0.74), (0.14, 0.8), (0.3, 0.44))),
            Polygon(((0.7, 0.12), (0.98, 0.74), (0.86, 0.8), (0.7, 0.44))),
        )
        cuffs: tuple[Stroke, ...] = (Line(((0.03, 0.72), (0.15, 0.78)), 0.05), Line(((0.97, 0.72), (0.85, 0.78)), 0.05))
    else:
        sleeves = (Polygon(((0.3, 0.12), (0.04, 0.34), (0.14, 0.48), (0.3, 0.36))), Polygon(((0.7, 0.12), (0.96, 0.34), (0.86, 0.48), (0.7, 0.36))))
        cuffs = ()
    return Silhouette((trunk, *sleeves), before=(Arc((0.41, 0.03, 0.59, 0.19), 10, 170, 0.035), *cuffs), emblem=(0.5, 0.5, 0.18))


def _dress(long: bool) -> Silhouette:
    hem = 0.96 if long else 0.76
    spread = 0.3 if long else 0.4
    top = Polygon(((0.36, 0.08), (0.42, 0.08), (0.5, 0.2), (0.58, 0.08), (0.64, 0.08), (0.66, 0.4), (0.34, 0.4)))
    skirt = Polygon(((0.35, 0.38), (0.65, 0.38), (0.5 + spread, hem), (0.5 - spread, hem)))
    return Silhouette((top, skirt), before=(Rounded((0.33, 0.36, 0.67, 0.42), 0.01),), emblem=(0.5, 0.6, 0.14))


def _hat(bobble: bool) -> Silhouette:
    if bobble:
        dome = Polygon(tuple((0.5 - 0.36 * math.cos(a), 0.76 - 0.54 * math.sin(a)) for a in np.linspace(0, math.pi, 24)))
        bobble_and_rim = (Ellipse((0.38, 0.06, 0.62, 0.3)),), (Rounded((0.11, 0.72, 0.89, 0.88), 0.05),)
        return Silhouette((dome,), *bobble_and_rim, emblem=(0.5, 0.52, 0.155))
    crown = Polygon(((0.3, 0.2), (0.7, 0.2), (0.76, 0.68), (0.24, 0.68)))
    return Silhouette((crown,), before=(Ellipse((0.0, 0.64, 1.0, 0.86)),), emblem=(0.5, 0.44, 0.15))


def _handbag(long_strap: bool) -> Silhouette:
    if long_strap:
        body = Polygon(((0.14, 0.5), (0.86, 0.5), (0.94, 0.95), (0.06, 0.95)))
        return Silhouette((body,), behind=(Line(((0.18, 0.54), (0.5, 0.02), (0.82, 0.54)), 0.04),), emblem=(0.5, 0.73, 0.155))
    body = Polygon(((0.16, 0.36), (0.84, 0.36), (0.94, 0.94), (0.06, 0.94)))
    return Silhouette((body,), behind=(Arc((0.32, 0.1, 0.68, 0.62), 180, 360, 0.06),), emblem=(0.5, 0.64, 0.18))


def _backpack(two_pocket: bool) -> Silhouette:
    body = Rounded((0.2, 0.12, 0.8, 0.94), 0.2)
    loop = Arc((0.4, 0.02, 0.6, 0.24), 180, 360, 0.045)
    if two_pocket:
        pockets: tuple[Stroke, ...] = (Rounded((0.06, 0.52, 0.22, 0.88), 0.06), Rounded((0.78, 0.52, 0.94, 0.88), 0.06))
        return Silhouette((body,), behind=(loop, *pockets), emblem=(0.5, 0.46, 0.18))
    return Silhouette((body,), behind=(loop,), before=(Rounded((0.3, 0.66, 0.7, 0.9), 0.06),), emblem=(0.5, 0.42, 0.18))


def _umbrella(straight: bool) -> Silhouette:
    arch = [(0.5 - 0.48 * math.cos(a), 0.56 - 0.5 * math.sin(a)) for a in np.linspace(0, math.pi, 24)]
    scallops = [(0.98 - 0.96 * i / 8, 0.56 if i % 2 == 0 else 0.5) for i in range(9)]
    if straight:
        stick: tuple[Stroke, ...] = (Line(((0.5, 0.5), (0.5, 0.92)), 0.045), Rounded((0.44, 0.84, 0.56, 0.97), 0.03))
    else:
        stick = (Line(((0.5, 0.5), (0.5, 0.86)), 0.045), Arc((0.32, 0.78, 0.522, 0.96), 0, 180, 0.045))
    return Silhouette((Polygon(tuple(arch + scallops)),), behind=stick, emblem=(0.5, 0.32, 0.15))


SILHOUETTES: dict[str, tuple[Silhouette, Silhouette]] = {
    name: (draw(False), draw(True))
    for name, draw in (
        ("mug", _mug),
        ("water bottle", _bottle),
        ("teapot", _teapot),
        ("vase", _vase),
        ("table lamp", _lamp),
        ("cushion", _cushion),
        ("t-shirt", _shirt),
        ("dress", _dress),
        ("hat", _hat),
        ("handbag", _handbag),
        ("backpack", _backpack),
        ("umbrella", _umbrella),
    )
}
