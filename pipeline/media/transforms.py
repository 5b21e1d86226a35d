"""From the frames of a clip to the square pixels of an encoder: one random crop and flip for a whole clip, or a plain resize.

Each frame is resampled once (crop and resize together). Mean and standard deviation are applied later, on the device.
Legend: T frames, H x W their size (may differ from frame to frame, where a clip is separate photos), S the encoder's size, in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

Box = tuple[float, float, float, float]
"""Left, upper, right, lower edge in pixels, fractions allowed."""

_ATTEMPTS = 10


@dataclass(frozen=True)
class RandomResizedCropFlip:
    """A random part of a clip, the same for all of its frames, resized to [T, 3, S, S] and mirrored or not.

    The part is a share of the frame's area, drawn uniformly from `scale`, with width / height drawn log-uniformly from `ratio`, at a
    uniform place: as torchvision's RandomResizedCrop, of whose ten attempts the first that fits the frame counts, and whose
    centre crop stands in where none does. Frames of other sizes get the same draws, as fractions of their own size.
    Source: QCD as released, RandomResizedCrop of 0.64 to 1 and a flip.

    Args:
        size: S in pixels.
        scale: least and largest share of the frame's area.
        ratio: least and largest width / height of the part.
        flip: probability of mirroring left and right.
        interpolation: "bilinear" (torchvision's default) or "bicubic", both with antialiasing.
    """

    size: int
    scale: tuple[float, float] = (0.64, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        _check(self.size, self.interpolation)
        if not 0 < self.scale[0] <= self.scale[1] <= 1 or not 0 < self.ratio[0] <= self.ratio[1] or not 0 <= self.flip <= 1:
            raise ValueError(
                f"random crop with scale {self.scale}, ratio {self.ratio}, flip {self.flip}: "
                "scale needs 0 < least <= largest <= 1, ratio 0 < least <= largest, flip 0 to 1"
            )

    def __call__(self, frames: Sequence[np.ndarray | Image.Image] | np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """uint8 [T, 3, S, S] of frames [H, W, 3] RGB uint8 or Pillow images; always takes the same amount of numbers from `rng`."""
        shares = rng.uniform(*self.scale, size=_ATTEMPTS)
        ratios = np.exp(rng.uniform(math.log(self.ratio[0]), math.log(self.ratio[1]), size=_ATTEMPTS))
        across, down = rng.random(2)
        mirrored = rng.random() < self.flip
        images = _images(frames)
        boxes = [self._box(image.size, shares, ratios, across, down) for image in images]
        return _resized(images, boxes, self.size, self.interpolation, mirrored)

    def _box(self, size: tuple[int, int], shares: np.ndarray, ratios: np.ndarray, across: float, down: float) -> Box:
        width, height = size
        for share, ratio in zip(shares, ratios):
            wide, high = math.sqrt(width * height * share * ratio), math.sqrt(width * height * share / ratio)
            if wide <= width and high <= height:
                left, upper = across * (width - wide), down * (height - high)
                return left, upper, left + wide, upper + high
        wide, high = min(width, height * self.ratio[1]), min(height, width / self.ratio[0])
        left, upper = (width - wide) / 2, (height - high) / 2
        return left, upper, left + wide, upper + high


@dataclass(frozen=True)
class Resize:
    """A clip's frames, each whole, resized to [T, 3, S, S] without keeping the aspect. Source: QCD's evaluation as released.

    Args:
        size: S in pixels.
        interpolation: "bilinear" (torchvision's default) or "bicubic", both with antialiasing.
    """

    size: int
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        _check(self.size, self.interpolation)

    def __call__(self, frames: Sequence[np.ndarray | Image.Image] | np.ndarray) -> np.ndarray:
        """uint8 [T, 3, S, S] of frames [H, W, 3] RGB uint8 or Pillow images."""
        images = _images(frames)
        return _resized(images, [(0, 0, *image.size) for image in images], self.size, self.interpolation, mirrored=False)


_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def _check(size: int, interpolation: str) -> None:
    if size < 1 or interpolation not in _FILTERS:
        raise ValueError(f"resize to {size} pixels, {interpolation!r}: size must be at least 1, interpolation one of {', '.join(_FILTERS)}")


def _images(frames: Sequence[np.ndarray | Image.Image] | np.ndarray) -> list[Image.Image]:
    if len(frames) == 0:
        raise ValueError("a clip without frames cannot be cropped or resized")
    return [frame.convert("RGB") if isinstance(frame, Image.Image) else Image.fromarray(np.ascontiguousarray(frame)) for frame in frames]


def _resized(images: list[Image.Image], boxes: Sequence[Box], size: int, interpolation: str, mirrored: bool) -> np.ndarray:
    clip = np.empty((len(images), 3, size, size), np.uint8)
    for place, (image, box) in enumerate(zip(images, boxes)):
        # The gap lets Pillow first average whole blocks of a picture more than six times too large; no other sizes are touched.
        pixels = np.asarray(image.resize((size, size), _FILTERS[interpolation], box=box, reducing_gap=3.0))
        clip[place] = (pixels[:, ::-1] if mirrored else pixels).transpose(2, 0, 1)
    return clip
