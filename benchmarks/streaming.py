"""Samples a second of the training stream beside bare decoding on the same cores, for clips as video files and as JPEG frames.

    python -m benchmarks.streaming [--products 24] [--clips 8] [--size 224] [--workers 2] [--rounds 3] [--before CHECKOUT]

Bare decoding is the least that any loader must do: as many processes as the stream has open the media files by themselves, decode the same
number of frames (decord for video, Pillow for JPEG), and resize them. The stream adds reading from shards, the choice of frames, one crop
and flip a clip, words to tokens, batches, and the way to the training process. Rounds alternate; the best of each is reported. The last
line is one JSON object: samples a second, and the stream's share of bare decoding.

--before names another checkout of this project (`git worktree add CHECKOUT COMMIT`): its stream reads the same shards, in turn with ours, each in a
process of its own, measured by the same lines; `<kind>_now`, `<kind>_before` and `<kind>_ratio` are added.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from launch.command import CommandParser, run_command
from pipeline.documents import DocumentPreparation, DocumentSettings
from pipeline.media.sampling import frame_positions
from pipeline.media.video import read_video_frames
from pipeline.order import order_of
from pipeline.pack import pack
from pipeline.recipe import Stream
from pipeline.shards import ShardSet
from pipeline.sources.sample import write_sample
from pipeline.stream import Slice, training_batches

ROOT = Path(__file__).resolve().parent.parent
FRAMES = 5
BATCH = 16
EPOCHS = 8
"""Of the stream: what loaders have ready when the clock starts is then a small part."""


def bare_video(path: str, size: int) -> int:
    """Five frames of one video file, as a script with decord reads them."""
    import decord

    reader = decord.VideoReader(path, num_threads=1)
    frames = reader.get_batch(frame_positions(len(reader), FRAMES)).asnumpy()
    return sum(np.asarray(Image.fromarray(frame).resize((size, size), Image.Resampling.BILINEAR)).shape[0] > 0 for frame in frames)


def bare_frames(paths: list[str], size: int) -> int:
    """Five of a clip's JPEG files, as a script with Pillow reads them."""
    chosen = [paths[place] for place in frame_positions(len(paths), FRAMES)]
    return sum(np.asarray(Image.open(path).convert("RGB").resize((size, size), Image.Resampling.BILINEAR)).shape[0] > 0 for path in chosen)


def bare_rate(decode: Callable[..., int], items: list, size: int, workers: int) -> float:
    """Clips a second by `workers` processes; they are started, and have imported what they need, before the clock."""
    with multiprocessing.Pool(workers) as pool:
        pool.starmap(decode, [(item, size) for item in items[: 4 * workers]])
        start = time.perf_counter()
        pool.starmap(decode, [(item, size) for item in items], chunksize=4)
        return len(items) / (time.perf_counter() - start)


def stream_rate(shards: ShardSet, size: int, workers: int) -> float:
    """Clips a second of the training stream over some epochs, after the loaders' first batches."""
    settings = Stream(batch_size=BATCH, workers=workers)
    tokenizer = shards.tokenizer()
    assert tokenizer is not None
    preparation = DocumentPreparation(DocumentSettings(frames=FRAMES), size, tokenizer, settings)
    order = order_of(shards, settings, seed=0)
    batches = training_batches(shards, order, preparation, seed=0, part=Slice(0, 1), epochs=range(EPOCHS), workers=workers, prefetch=2)
    warm = 2 * workers
    clips = sum(len(batch["frames"]) for batch in islice(batches, warm))
    start = time.perf_counter()
    clips = sum(len(batch["frames"]) for batch in batches)
    return clips / (time.perf_counter() - start)


ONE_RATE = """
import runpy, sys
here = runpy.run_path(sys.argv[1])
print(here["stream_rate"](here["ShardSet"](sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
"""
"""Runs this file's `stream_rate` with the packages of the folder it is started in."""


def rate_in(checkout: Path, shards: ShardSet, size: int, workers: int) -> float:
    """`stream_rate` of a checkout's stream, in a process of its own. Raises ValueError with its last words where it fails there."""
    command = [sys.executable, "-c", ONE_RATE, __file__, str(shards.folder.resolve()), str(size), str(workers)]
    done = subprocess.run(command, cwd=checkout, env=os.environ | {"PYTHONPATH": str(checkout)}, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"--before {checkout}: its stream does not run on these shards: {(done.stderr.splitlines() or ['?'])[-1]}")
    return float(done.stdout.splitlines()[-1])


def corpora(folder: Path, products: int, clips: int) -> tuple[ShardSet, ShardSet, list[str], list[list[str]]]:
    """The same clips packed as video files and as JPEG frames, and their files."""
    write_sample(folder / "sample", products, clips, 0, 2)
    videos = sorted(str(path) for path in (folder / "sample/video/images").rglob("*.mp4"))
    listed: dict[str, list[dict]] = {"video": [], "frames": []}
    frame_files = []
    for number, video in enumerate(videos):
        words = {"title": f"clip {number}", "queries": [f"query {number % 50}"], "domain": "video", "id": str(number)}
        frames = read_video_frames(video, lambda length: range(length))
        names = [f"frames/{number}_{place}.jpg" for place in range(len(frames))]
        for name, frame in zip(names, frames):
            (folder / "catalog" / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(frame).save(folder / "catalog" / name, quality=90)
        (folder / "catalog/clips").mkdir(parents=True, exist_ok=True)
        (folder / f"catalog/clips/{number}.mp4").write_bytes(Path(video).read_bytes())
        listed["video"].append(words | {"video": f"clips/{number}.mp4"})
        listed["frames"].append(words | {"images": names})
        frame_files.append([str(folder / "catalog" / name) for name in names])
    sets = {}
    for kind, records in listed.items():
        (folder / "catalog/train.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
        sets[kind] = ShardSet(pack(folder / "catalog", folder / f"shards_{kind}", splits=["train"], vocab_size=200)["train"])
    return sets["video"], sets["frames"], videos, frame_files


def main(argv: list[str] | None = None) -> None:
    """Parse the command line, measure, print."""
    parser = CommandParser("python -m benchmarks.streaming", __doc__)
    parser.add_argument("--products", type=int, default=24, help="products of the sample corpus (default: %(default)s)")
    parser.add_argument("--clips", type=int, default=8, help="clips of each (default: %(default)s)")
    parser.add_argument("--size", type=int, default=224, help="pixels a side (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes of either side (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds, of which the best counts (default: %(default)s)")
    parser.add_argument("--before", type=Path, metavar="CHECKOUT", help="another checkout of this project, to compare its stream with ours")
    given = parser.parse_args(argv)
    if given.before and not (given.before / "benchmarks/streaming.py").is_file():
        raise ValueError(f"--before {given.before}: no checkout of this project (benchmarks/streaming.py is not there)")
    with tempfile.TemporaryDirectory() as folder:
        video_set, frame_set, videos, frames = corpora(Path(folder), given.products, given.clips)
        best: dict[str, float] = {}
        for _ in range(given.rounds):
            rates = {
                "video_bare": bare_rate(bare_video, videos, given.size, given.workers),
                "video_stream": stream_rate(video_set, given.size, given.workers),
                "frames_bare": bare_rate(bare_frames, frames, given.size, given.workers),
                "frames_stream": stream_rate(frame_set, given.size, given.workers),
            }
            if given.before:
                for kind, split in (("video", video_set), ("frames", frame_set)):
                    for when, checkout in (("before", given.before.resolve()), ("now", ROOT)):
                        rates[f"{kind}_{when}"] = rate_in(checkout, split, given.size, given.workers)
            best = {name: max(rate, best.get(name, 0.0)) for name, rate in rates.items()}
    shares = {f"{kind}_share": round(best[f"{kind}_stream"] / best[f"{kind}_bare"], 2) for kind in ("video", "frames")}
    if given.before:
        shares |= {f"{kind}_ratio": round(best[f"{kind}_now"] / best[f"{kind}_before"], 3) for kind in ("video", "frames")}
    print(json.dumps({"clips": len(videos), "workers": given.workers, "size": given.size, **{k: round(v, 1) for k, v in best.items()}, **shares}))


if __name__ == "__main__":
    run_command(main)
