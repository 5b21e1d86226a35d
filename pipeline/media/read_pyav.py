"""Frames by PyAV: jump to the keyframe before each wanted frame and decode forward, all wanted frames in one pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipeline.media.packets import PacketIndex, open_video
from pipeline.media.source import Source


def read_with_pyav(source: Source, positions: Sequence[int], index: PacketIndex, name: str) -> list[np.ndarray]:
    """Frames [H, W, 3] RGB uint8 at `positions`. Raises ValueError naming the video where one of them cannot be decoded."""
    if not index.timed:
        counted = _read_by_counting(source, set(positions), name)
        return [counted[position] for position in positions]
    times = {index.shown[position] for position in positions}
    frames: dict[int, np.ndarray] = {}
    with open_video(source, name) as (container, stream):
        _read_by_jumping(container, stream, times, index, frames)
    if len(frames) < len(times):
        # A jump that lands too late, or at a keyframe that the decoder cannot start at, is no damage yet: decode from the start.
        with open_video(source, name) as (container, stream), suppress(av.error.InvalidDataError):
            _read_forward(container.demux(stream), stream, times, max(times), frames)
    for position in positions:
        if index.shown[position] not in frames:
            raise ValueError(f"{name}: frame {position} of {len(index.shown)} cannot be decoded; the file is damaged")
    return [frames[index.shown[position]] for position in positions]


def count_frames(source: Source, name: str) -> int:
    """Number of frames, by decoding them all: for files whose packets do not say when they are shown."""
    with open_video(source, name) as (container, stream):
        return sum(1 for _ in container.decode(stream))


def _read_by_jumping(container: InputContainer, stream: VideoStream, times: set[int], index: PacketIndex, frames: dict[int, np.ndarray]) -> None:
    """Put the frames at `times` into `frames`, by their time; those that do not come whole are left out."""
    start: int | None = None
    packets: Iterator[Packet] = iter(())
    for time in sorted(times):
        keyframe = index.keyframe_before(time)
        if time in frames or keyframe is None:
            continue
        if start is None or keyframe > start:
            container.seek(keyframe, stream=stream)
            start, packets = keyframe, container.demux(stream)
            first = next(packets)
            if first.pts not in index.keyframes:
                start = None  # the file's own table of keyframes is wrong
                continue
            packets = chain([first], packets)
        with suppress(av.error.InvalidDataError):  # the frame is missing then, and looked for once more
            _read_forward(packets, stream, times, time, frames, whole=True)


def _read_forward(
    packets: Iterable[Packet], stream: VideoStream, times: set[int], last: int, frames: dict[int, np.ndarray], whole: bool = False
) -> None:
    """Decode `packets` until what is shown at `last` has come or been passed; put what is at `times` into `frames`.

    `whole` leaves out frames that the decoder marks as patched up.
    """
    skips = stream.codec.canonical_name in ("h264", "hevc")
    for packet in packets:
        if skips:
            # Frames that no other frame is made from need no decoding unless they are wanted: a third less time.
            stream.codec_context.skip_frame = "DEFAULT" if packet.pts in times else "NONREF"
        passed = False
        for frame in packet.decode():
            assert isinstance(frame, VideoFrame)
            if frame.pts in times and not (whole and frame.is_corrupt):
                frames[frame.pts] = _upright(frame)
            passed = passed or (frame.pts is not None and frame.pts >= last)
        if passed:
            break


def _read_by_counting(source: Source, positions: set[int], name: str) -> dict[int, np.ndarray]:
    with open_video(source, name) as (container, stream):
        frames = {}
        for position, frame in enumerate(container.decode(stream)):
            if position in positions:
                frames[position] = _upright(frame)
            if len(frames) == len(positions):
                break
    return frames


def _upright(frame: VideoFrame) -> np.ndarray:
    """Pixels [H, W, 3] RGB uint8, turned as the file's rotation mark says."""
    pixels = frame.to_ndarray(format="rgb24")
    return np.rot90(pixels, round(frame.rotation / 90)) if frame.rotation else pixels
