"""The frames of a packed sample: images or a video file, chosen as QCD chooses them, decoded, and one random crop or a plain resize.

Legend: T frames, S pixels a side.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.media.decoder import Decoder
from pipeline.media.images import decode_image
from pipeline.media.sampling import frame_positions
from pipeline.media.transforms import RandomResizedCropFlip, Resize
from pipeline.shards import Sample

FINER = 1.25
"""Frames are decoded with a short side of this times S: a crop of 0.64 of the area is then still S pixels wide."""


class FrameReader:
    """Reads frames of samples; picklable, with a decoder of its own in each process.

    Args:
        backend: video decoder, "decord" or "pyav".
        timeout_s: seconds that one video may take.
    """

    def __init__(self, backend: str = "decord", timeout_s: float = 20.0) -> None:
        self._decoder = Decoder(backend, timeout_s)

    def training_frames(self, sample: Sample, count: int, crop: RandomResizedCropFlip, rng: np.random.Generator) -> np.ndarray | None:
        """uint8 [T, 3, S, S]: one random frame out of each of T = `count` segments, one crop and flip for all. None: the sample has no media."""
        frames = self.read(sample, count, rng, round(crop.size * FINER))
        return None if frames is None else crop(frames, rng)

    def evaluation_frames(self, sample: Sample, count: int, size: int) -> np.ndarray | None:
        """uint8 [T, 3, S, S]: the T segments' centres, each frame whole and squeezed to S = `size`. None: the sample has no media."""
        frames = self.read(sample, count, None, round(size * FINER))
        return None if frames is None else Resize(size)(frames)

    def read(self, sample: Sample, count: int, rng: np.random.Generator | None, short_side: int) -> Sequence[np.ndarray] | None:
        """T = `count` frames uint8 [H, W, 3], scaled down towards a short side of `short_side` where that saves time.

        Raises:
            ValueError: names shard, sample and member, where one cannot be decoded in time.
        """
        video, images = sample.video(), sample.frames()
        if video is not None:
            return list(self._decoder.read(sample.span(video), count, rng, short_side=short_side, name=f"{sample.name} {video}"))
        if not images:
            return None
        positions = frame_positions(len(images), count, rng)
        read = {place: decode_image(sample.bytes(images[place]), f"{sample.name} {images[place]}", short_side) for place in sorted(set(positions))}
        return [read[place] for place in positions]
