"""Frames of a video by their position in presentation order, the same whichever backend reads them.

PyAV lists the packets first (no decoding; a few per cent of the time of reading five frames). That list says how many frames there
are, and whether decord would give the right ones. Decord counts frames from the keyframe it jumps to, and counts wrongly (another
frame, no error) after keyframes that do not shut off what came before them (open groups of pictures, which x265 makes by default,
gradual refresh, MPEG-4 with B-frames), in AVI, and with edit lists; it may also choose another of several video streams.
Such files, and what decord cannot open or decode, go to PyAV. Colours of 8-bit videos agree to the last bit; of 10-bit ones the two
convert chroma a little differently.

Legend: T frames, H x W pixels upright (a phone's rotation mark is obeyed, the shape of pixels is not).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from pipeline.media.packets import PacketIndex, index_packets, open_video, seconds
from pipeline.media.read_decord import read_with_decord
from pipeline.media.read_pyav import count_frames, read_with_pyav
from pipeline.media.source import Source, known_backend, source_name

_DECORD_CODECS = ("h264", "hevc", "mpeg4", "vp8", "vp9")


@dataclass(frozen=True)
class VideoInfo:
    """What is in a video file."""

    frames: int
    """Frames that are there to be decoded, whatever the header says."""

    duration_s: float
    """Seconds from the first frame to the end of the last as the header says; 0 where it does not."""

    width: int
    height: int
    """Pixels as stored, before the rotation mark."""

    codec: str
    """FFmpeg's name of the codec: h264, hevc, vp9, av1, mpeg4 …"""

    video_streams: int
    """Video streams in the file; the one described is FFmpeg's own choice."""

    backend: str
    """Which backend reads it where decord is asked for: "decord" or "pyav"."""


def probe(source: Source, name: str | None = None) -> VideoInfo:
    """Frames, duration, size and codec of a video, from its header and its packets. Raises ValueError naming a file that is no video."""
    name = name or source_name(source)
    with open_video(source, name) as (container, stream):
        index = index_packets(container, stream)
        duration_s = seconds(stream.duration, stream.time_base) or (container.duration or 0) / 1e6
        codec = stream.codec.canonical_name
        video_streams = len(container.streams.video)
        decord_reads = _decord_is_right(codec, video_streams, index)
        width, height = stream.width, stream.height
    frames = len(index.shown) if index.timed else count_frames(source, name)
    return VideoInfo(frames, duration_s, width, height, codec, video_streams, "decord" if decord_reads else "pyav")


def read_video_frames(
    source: Source,
    choose: Callable[[int], Sequence[int]],
    *,
    backend: str = "decord",
    short_side: int | None = None,
    name: str | None = None,
) -> np.ndarray:
    """Frames of a video, RGB uint8 [T, H, W, 3], in the order asked for.

    Args:
        source: a path, a span of a tar, or the file's bytes.
        choose: takes the number of frames L, gives T positions in 0 .. L - 1 (repeats are fine).
        backend: "decord" (see above for what goes to PyAV all the same) or "pyav".
        short_side: frames whose shorter side is longer than this many pixels are scaled down to it, the aspect kept, so that less is
            carried about. About 1.25 times the size that a random crop of at least 0.64 of the area is resized to loses no
            detail. None: the stored size.
        name: what messages call the video; its path where there is none.

    Raises ValueError naming the video where it cannot be opened, has no frames, or a chosen frame cannot be decoded: another frame
    is never given for it. A damaged frame that the codec patches up by itself (H.264 does) is given without an error.
    """
    backend = known_backend(backend)
    name = name or source_name(source)
    with open_video(source, name) as (container, stream):
        index = index_packets(container, stream)
        codec, video_streams = stream.codec.canonical_name, len(container.streams.video)
    length = len(index.shown) if index.timed else count_frames(source, name)
    if length == 0:
        raise ValueError(f"{name}: its video stream ({codec}) has no frames")
    positions = list(choose(length))
    outside = [position for position in positions if not 0 <= position < length]
    if outside or not positions:
        raise ValueError(f"{name}: frames {outside or positions} asked for, it has {length}")
    frames = None
    if backend == "decord" and _decord_is_right(codec, video_streams, index):
        frames = read_with_decord(source, positions, index)
    if frames is None:
        frames = read_with_pyav(source, positions, index, name)
    return _stack(frames, short_side)


def _decord_is_right(codec: str, video_streams: int, index: PacketIndex) -> bool:
    """Whether decord, if it opens the file, gives for each position the frame that is shown there (measured with decord 0.6.0)."""
    return codec in _DECORD_CODECS and video_streams == 1 and index.timed and index.plain


def _stack(frames: list[np.ndarray], short_side: int | None) -> np.ndarray:
    """The frames as one array of the first one's size, scaled down to `short_side` where that is shorter."""
    height, width = frames[0].shape[:2]
    scale = min(1.0, short_side / min(height, width)) if short_side else 1.0
    size = (round(width * scale), round(height * scale))
    clip = np.empty((len(frames), size[1], size[0], 3), np.uint8)
    for place, frame in enumerate(frames):
        if frame.shape[:2] == (size[1], size[0]):
            clip[place] = frame
        else:  # also a frame after the stream changed its size
            clip[place] = np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0))
    return clip
