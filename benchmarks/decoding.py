"""Frames a second of reading a few frames of each video, by decord and PyAV, bare, as the project reads them, and through its process.

    python -m benchmarks.decoding [--videos DIR] [--count 5] [--rounds 3]

All ways take turns on every video in every round, one thread each; the best time of a video counts. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import decord
import numpy as np

from launch.command import run_command
from launch.logs import say
from pipeline.item import VIDEO_SUFFIXES
from pipeline.media import Decoder, frame_positions
from pipeline.media.video import probe, read_video_frames


def measure(videos: list[Path], count: int, rounds: int) -> dict[str, object]:
    """Frames a second of each way over all `videos`, `count` frames of each; start-up seconds of the process; which backend reads what."""
    start = time.perf_counter()
    by_decord, by_pyav = Decoder("decord"), Decoder("pyav")
    by_decord.read(videos[0], 1)
    first_answer_s = time.perf_counter() - start
    by_pyav.read(videos[0], 1)
    ways: dict[str, Callable[[Path], np.ndarray]] = {
        "bare decord": lambda path: _bare_decord(path, count),
        "bare pyav, whole clip": lambda path: _bare_pyav(path, count),
        "backend decord": lambda path: read_video_frames(path, lambda length: frame_positions(length, count)),
        "backend pyav": lambda path: read_video_frames(path, lambda length: frame_positions(length, count), backend="pyav"),
        "process, decord": lambda path: by_decord.read(path, count),
        "process, pyav": lambda path: by_pyav.read(path, count),
    }
    seconds: dict[str, dict[str, float]] = {way: {} for way in ways}
    for _ in range(rounds):
        for path in videos:
            for way, read in ways.items():
                start = time.perf_counter()
                try:
                    read(path)
                except decord.DECORDError:  # what bare decord cannot open (AV1) is left out of its rate
                    continue
                took = time.perf_counter() - start
                seconds[way][str(path)] = min(took, seconds[way].get(str(path), took))
    by_decord.close()
    by_pyav.close()
    return {
        "benchmark": "decoding",
        "videos": len(videos),
        "frames_per_video": count,
        "rounds": rounds,
        "frames_per_s": {way: round(count * len(times) / sum(times.values()), 1) for way, times in seconds.items() if times},
        "videos_read": {way: len(times) for way, times in seconds.items()},
        "first_answer_of_process_s": round(first_answer_s, 2),
        "read_by_decord": sum(probe(path).backend == "decord" for path in videos),
    }


def _bare_decord(path: Path, count: int) -> np.ndarray:
    reader = decord.VideoReader(str(path), num_threads=1)
    return reader.get_batch(frame_positions(len(reader), count)).asnumpy()


def _bare_pyav(path: Path, count: int) -> np.ndarray:
    """The plain way: decode everything up to the last wanted frame."""
    wanted = frame_positions(probe(path).frames, count)
    frames: dict[int, np.ndarray] = {}
    with av.open(str(path)) as container:
        stream: Any = container.streams.best("video")
        stream.codec_context.thread_count = 1
        frame: Any
        for position, frame in enumerate(container.decode(stream)):
            if position in wanted:
                frames[position] = frame.to_ndarray(format="rgb24")
            if position == wanted[-1]:
                break
    return np.stack([frames[position] for position in wanted])


def write_videos(folder: Path, seconds: int = 8) -> list[Path]:
    """Three clips of 640 x 360 at 25 frames a second: H.264, closed-group HEVC and VP9, of a drifting textured background."""
    rng = np.random.default_rng(0)
    texture = np.kron(rng.integers(0, 255, (60, 100, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    kinds = [
        ("h264.mp4", "libx264", {"preset": "veryfast"}),
        ("hevc.mp4", "libx265", {"preset": "ultrafast", "x265-params": "log-level=none:open-gop=0"}),
        ("vp9.webm", "libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}),
    ]
    for name, codec, options in kinds:
        with av.open(str(folder / name), "w") as container:
            stream: Any = container.add_stream(codec, rate=25, options=options)
            stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
            stream.codec_context.gop_size = 50
            for number in range(25 * seconds):
                frame = np.ascontiguousarray(texture[number % 100 :][:360, number % 140 :][:, :640])
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
            container.mux(stream.encode())
    return [folder / name for name, _, _ in kinds]


def main(argv: list[str] | None = None) -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument("--videos", type=Path, help="folder of video files, read recursively (default: three clips are encoded)")
    parser.add_argument("--count", type=int, default=5, help="frames of each video (default: 5)")
    parser.add_argument("--rounds", type=int, default=3, help="times that each video is read; the best counts (default: 3)")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        if options.videos is None:
            videos = write_videos(Path(folder))
        else:
            videos = sorted(path for path in options.videos.rglob("*") if path.suffix.lower() in VIDEO_SUFFIXES)
        if not videos:
            raise ValueError(f"{options.videos}: no video files in it ({', '.join(VIDEO_SUFFIXES)})")
        figures = measure(videos, options.count, options.rounds)
    say(json.dumps(figures))


if __name__ == "__main__":
    run_command(main)
