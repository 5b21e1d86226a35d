"""Small clips for the media tests, encoded with PyAV: each frame carries its own number as white squares along its lower edge."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np

FRAMES = 40
WIDTH, HEIGHT = 96, 64
_BITS = 6

X264_CLOSED = {"x264-params": "open-gop=0:scenecut=0:keyint=12:bframes=3"}
X265_CLOSED = {"x265-params": "log-level=none:open-gop=0:bframes=3:keyint=12:scenecut=0"}
X265_OPEN = {"x265-params": "log-level=none:open-gop=1:bframes=3:keyint=12:scenecut=0"}


def picture(number: int) -> np.ndarray:
    """[64, 96, 3] RGB uint8: a red bar that moves, a green corner at the top left, and `number` in binary below."""
    pixels = np.full((HEIGHT, WIDTH, 3), 20 + 4 * (number % 40), np.uint8)
    pixels[:, (2 * number) % WIDTH :][:, :8] = (250, 30, 30)
    pixels[:16, :16] = (0, 220, 0)
    for bit in range(_BITS):
        pixels[-8:, bit * 12 : bit * 12 + 12] = 255 * (number >> bit & 1)
    return pixels


def number_in(frame: np.ndarray) -> int:
    """The number that `picture` drew into a decoded frame of any size."""
    height, width = frame.shape[:2]
    row = frame[height - height // 16]
    return sum(int(row[(bit * 12 + 6) * width // WIDTH].mean() > 128) << bit for bit in range(_BITS))


def write_clip(
    path: Path,
    codec: str = "libx264",
    *,
    frames: int = FRAMES,
    options: dict[str, str] | None = None,
    rotation: int = 0,
    container: dict[str, str] | None = None,
) -> Path:
    """A clip of `frames` numbered pictures, 10 a second, a keyframe at least every 12; `container` are options of FFmpeg's muxer."""
    with av.open(str(path), "w", options=container or {}) as file:
        stream: Any = file.add_stream(codec, rate=10, options=options or {})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.gop_size = 12
        if rotation:
            stream.set_display_rotation(rotation)
        for number in range(frames):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture(number), "rgb24")))
        file.mux(stream.encode())
    return path


def cut(path: Path, share: float) -> Path:
    """A copy of `path` beside it that ends after `share` of its bytes."""
    whole = path.read_bytes()
    shorter = path.with_name(f"cut-{share}-{path.name}")
    shorter.write_bytes(whole[: int(len(whole) * share)])
    return shorter


def blank_packets(path: Path, numbers: range) -> Path:
    """A copy of `path` beside it in which the packets `numbers` (in the file's order) are filled with zeros."""
    with av.open(str(path)) as file:
        packets = [bytes(packet) for packet in file.demux(video=0) if packet.size]
    damaged = path.read_bytes()
    for number in numbers:
        damaged = damaged.replace(packets[number], bytes(len(packets[number])))
    copy = path.with_name(f"damaged-{path.name}")
    copy.write_bytes(damaged)
    return copy
