"""Micro-videos of the sample corpus: products that move, turn and get covered, among clutter, in changing light, as H.264 mp4.

The light (gains, a turn of the hue, gamma, a gradient over the picture) is drawn anew for each clip, so a product's colours in a clip say little
about those of its catalogue image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw

from pipeline.sources.procedural.drawing import clutter_sprite
from pipeline.sources.procedural.goods import PALETTES, Colour

SIDE = 112
"""Width and height of a clip, pixels."""

FRAMES = 12
FRAMES_PER_SECOND = 6

ROOM = 168
"""Width and height of the background that the camera pans over, pixels."""


@dataclass(frozen=True)
class Course:
    """A value that changes smoothly through the clip: from `start` to `end`, swinging once about that by `swing` from `phase` (0 to 1) on."""

    start: float
    end: float
    swing: float = 0.0
    phase: float = 0.0

    def at(self, time: float) -> float:
        """The value at `time`, 0 to 1."""
        return self.start + (self.end - self.start) * time + self.swing * math.sin(2 * math.pi * (time + self.phase))


@dataclass(frozen=True)
class Actor:
    """A picture and how it moves: centre (shares of the frame's side), width (same), turn (radians), foreshortening (0 to 1) and shear (unitless)."""

    sprite: Image.Image
    x: Course
    y: Course
    width: Course
    turn: Course
    foreshortening: float
    shear: float

    def paint(self, frame: Image.Image, time: float) -> None:
        """Paint the actor as it stands at `time` (0 to 1) onto `frame`."""
        scale = self.width.at(time) * SIDE / self.sprite.width
        turn, x, y = self.turn.at(time), self.x.at(time) * SIDE, self.y.at(time) * SIDE
        # The picture is foreshortened and scaled, sheared, turned: a 2 x 2 matrix p q / r s.
        cos, sin, narrow = scale * math.cos(turn), scale * math.sin(turn), self.foreshortening
        p, q, r, s = cos * narrow, cos * self.shear - sin, sin * narrow, sin * self.shear + cos
        half = self.sprite.width / 2
        reach_x, reach_y = (abs(p) + abs(q)) * half, (abs(r) + abs(s)) * half
        left, right = max(0, int(x - reach_x)), min(SIDE, math.ceil(x + reach_x))
        top, bottom = max(0, int(y - reach_y)), min(SIDE, math.ceil(y + reach_y))
        if left >= right or top >= bottom:
            return
        determinant = p * s - q * r
        a, b, d, e = s / determinant, -q / determinant, -r / determinant, p / determinant
        x, y = x - left, y - top
        coefficients = (a, b, half - a * x - b * y, d, e, half - d * x - e * y)
        placed = self.sprite.transform((right - left, bottom - top), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR)
        frame.paste(placed, (left, top), placed)


def clip_frames(sprites: list[Image.Image], rng: np.random.Generator) -> list[np.ndarray]:
    """FRAMES pictures uint8 [SIDE, SIDE, 3] of one clip that shows `sprites` (one product, or two side by side)."""
    room = _room(rng)
    pan_x, pan_y = (_between(rng, 0, ROOM - SIDE) for _ in range(2))
    clutter = [_clutter(rng) for _ in range(int(rng.integers(1, 4)))]
    goods = [_product(sprite, place, len(sprites), rng) for place, sprite in enumerate(sprites)]
    passing = _passing(rng) if rng.random() < 0.35 else None
    light = _Light(rng)
    frames = []
    for number in range(FRAMES):
        time = number / (FRAMES - 1)
        left, top = int(pan_x.at(time)), int(pan_y.at(time))
        frame = room.crop((left, top, left + SIDE, top + SIDE))
        for actor in clutter + goods:
            actor.paint(frame, time)
        if passing is not None:
            passing.paint(frame, time)
        frames.append(light.on(frame, time, rng))
    return frames


def write_clip(path: Path, frames: list[np.ndarray]) -> None:
    """Write `frames` as an H.264 mp4 (yuv420p); the same frames give the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # With x264's macroblock-tree rate control about one file in ten came out differently from run to run, even on one thread.
    options = {"preset": "veryfast", "crf": "27", "threads": "1", "x264-params": "mbtree=0"}
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FRAMES_PER_SECOND, options=options)
        stream.width, stream.height, stream.pix_fmt = SIDE, SIDE, "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def _between(rng: np.random.Generator, least: float, most: float, swing: float = 0.0) -> Course:
    """A course between two values drawn from `least` to `most`."""
    start, end = rng.uniform(least, most, 2).tolist()
    return Course(start, end, swing, rng.random())


def _product(sprite: Image.Image, place: int, count: int, rng: np.random.Generator) -> Actor:
    """A product in the middle (one of two: in its half) that sways, comes nearer or goes away; in one clip of four it leaves half-way."""
    middle = 0.5 if count == 1 else 0.28 + 0.44 * place
    width = (0.7, 1.05) if count == 1 else (0.5, 0.66)
    spread = 0.12 if count == 1 else 0.06
    x_start, x_end, y_start, y_end = rng.uniform(-spread, spread, 4).tolist()
    if count == 1 and rng.random() < 0.25:
        x_end += float(rng.choice((-0.45, 0.45)))
    return Actor(
        sprite,
        Course(middle + x_start, middle + x_end, 0.04, rng.random()),
        Course(0.52 + y_start, 0.52 + y_end, 0.04, rng.random()),
        _between(rng, *width),
        _between(rng, -0.2, 0.2, swing=0.06),
        rng.uniform(0.82, 1.0),
        rng.uniform(-0.1, 0.1),
    )


def _clutter(rng: np.random.Generator) -> Actor:
    """An object beside or behind the product."""
    angle, distance = rng.uniform(0, 2 * math.pi), rng.uniform(0.38, 0.6)
    x, y = 0.5 + distance * math.cos(angle), 0.5 + distance * math.sin(angle)
    drift_x, drift_y = rng.uniform(-0.1, 0.1, 2)
    turn = rng.uniform(-math.pi, math.pi)
    return Actor(
        clutter_sprite(rng),
        Course(x, x + drift_x),
        Course(y, y + drift_y),
        _between(rng, 0.2, 0.45),
        Course(turn, turn + rng.uniform(-0.4, 0.4)),
        rng.uniform(0.6, 1.0),
        0.0,
    )


def _passing(rng: np.random.Generator) -> Actor:
    """An object that passes before the product and covers a part of it for some of the frames."""
    start, end = (-0.4, 1.4) if rng.random() < 0.5 else (1.4, -0.4)
    turn = rng.uniform(-math.pi, math.pi)
    return Actor(
        clutter_sprite(rng),
        Course(start, end),
        _between(rng, 0.3, 0.8),
        _between(rng, 0.25, 0.42),
        Course(turn, turn),
        1.0,
        0.0,
    )


def _room(rng: np.random.Generator) -> Image.Image:
    """A background of ROOM x ROOM: a wall over a table, with planks, tiles, blots of colour or nothing on it."""
    wall, table, mark = (_muted(rng) for _ in range(3))
    room = Image.new("RGB", (ROOM, ROOM), wall)
    draw = ImageDraw.Draw(room)
    edge = int(rng.uniform(0.3, 0.8) * ROOM)
    kind = int(rng.integers(4))
    step = int(rng.integers(14, 40))
    if kind == 0:
        for x in range(int(rng.integers(step)), ROOM, step):
            draw.line((x, 0, x, ROOM), fill=mark, width=int(rng.integers(1, 4)))
    draw.rectangle((0, edge, ROOM, ROOM), fill=table)
    if kind == 1:
        for at in range(int(rng.integers(step)), ROOM, step):
            draw.line((at, 0, at, ROOM), fill=mark, width=2)
            draw.line((0, at, ROOM, at), fill=mark, width=2)
    if kind == 2:
        for _ in range(10):
            x, y, r = rng.uniform(0, ROOM, 2).tolist() + [float(rng.uniform(6, 30))]
            draw.ellipse((x - r, y - r, x + r, y + r), fill=_muted(rng))
    return room


def _muted(rng: np.random.Generator) -> Colour:
    """Some colour: one of the products' own, mixed with grey."""
    palette = PALETTES[int(rng.integers(len(PALETTES)))]
    share, grey = rng.uniform(0.1, 0.8), rng.uniform(60, 220)
    red, green, blue = (int(share * channel + (1 - share) * grey) for channel in palette[int(rng.integers(3))])
    return red, green, blue


class _Light:
    """The light of one clip: hue turned, channels gained (colour temperature), gamma, a gradient over the picture, a flicker, the camera's noise."""

    def __init__(self, rng: np.random.Generator) -> None:
        grey = np.full((3, 3), 1 / 3)
        axis = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
        hue = rng.uniform(-0.6, 0.6)
        turn = math.cos(hue) * np.eye(3) + math.sin(hue) * axis + (1 - math.cos(hue)) * grey
        saturation = rng.uniform(0.6, 1.2)
        self.colour = np.exp(rng.normal(0, 0.16, (3, 1))) * (saturation * turn + (1 - saturation) * grey)
        self.gain = math.exp(rng.normal(0, 0.18))
        self.gamma = (255 * np.linspace(0, 1, 256) ** math.exp(rng.normal(0, 0.2))).astype(np.int16)
        self.flicker = Course(1.0, rng.uniform(0.85, 1.15), 0.04, rng.random())
        y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32) / SIDE - 0.5
        angle = rng.uniform(0, 2 * math.pi)
        self.gradient = (1 + np.float32(rng.uniform(0, 0.5)) * (math.cos(angle) * x + math.sin(angle) * y))[..., None]
        self.grain = rng.normal(0, rng.uniform(2, 7), (SIDE + 16, SIDE + 16, 1)).astype(np.int16)

    def on(self, frame: Image.Image, time: float, rng: np.random.Generator) -> np.ndarray:
        """`frame` in this light at `time`, uint8 [SIDE, SIDE, 3]."""
        colour = self.colour * (self.gain * self.flicker.at(time))
        matrix = tuple(number for row in colour for number in (*row.tolist(), 0.0))
        lit = np.asarray(frame.convert("RGB", matrix)) * self.gradient
        shown = self.gamma[np.clip(lit, 0, 255).astype(np.uint8)]
        left, top = rng.integers(0, 16, 2)
        return np.clip(shown + self.grain[top : top + SIDE, left : left + SIDE], 0, 255).astype(np.uint8)
