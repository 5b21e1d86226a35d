"""Items and bytes a second of packing a corpus of Real400K's shape, and what 400,000 and 20 million items would take in time and on disk.

    python -m benchmarks.pack [--items 20000] [--workers 2] [--frames 8] [--kilobytes 76] [--folder FOLDER] [--profile]

Published of Real400K: 400,000 items take about 136 GB, so 340 kB each; goods have one image, clips frames as JPEG files, and both short texts;
98,000 queries found them. Taken for granted here: half are goods, a clip has 8 frames, and all images are of one size, 76 kB at 480 x 640, which
comes to those 340 kB. The pictures are a pool of 256, drawn and encoded once, which all items' files are links to: what is read comes out of
memory, so the figures are those of processors and of writing. A slower disk than they need is the limit, and has to be measured by itself.

--profile packs in one process and lists where its time goes. The last line is one JSON object.
"""

from __future__ import annotations

import cProfile
import io
import json
import os
import pstats
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from launch.command import CommandParser, run_command
from launch.logs import progress, say
from pipeline.pack import pack
from pipeline.shards import ShardSet
from pipeline.sources.real20m import FOLDERS

POOL = 256
SIZE = (480, 640)
"""Width and height of a frame."""
ITEMS_A_QUERY = 4
SCALES = (400_000, 20_000_000)
WORDS = [
    *("鍵盤", "茶壺", "連衣裙", "口紅", "手機殼", "新款", "coat", "kettle", "lipstick", "case", "red", "blue", "soft", "new", "summer"),
    *("for", "women", "with", "lid", "free", "shipping"),
]


def picture(rng: np.random.Generator, kilobytes: float) -> bytes:
    """A JPEG of about `kilobytes`: large shapes under as much noise as it takes."""
    coarse = Image.fromarray(rng.integers(0, 256, (8, 6, 3), dtype=np.uint8)).resize(SIZE, Image.Resampling.BICUBIC)
    noise = rng.standard_normal((SIZE[1], SIZE[0], 1))
    data = b""
    for level in (2, 4, 6, 8, 11, 14, 18, 23, 30, 40, 55, 75, 100):
        file = io.BytesIO()
        Image.fromarray((np.asarray(coarse) + level * noise).clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=80)
        data = file.getvalue()
        if len(data) >= kilobytes * 1000:
            break
    return data


def write_corpus(root: Path, items: int, frames: int, kilobytes: float) -> int:
    """A train split in the Real20M layout, half goods and half clips; returns the bytes of its images."""
    rng = np.random.default_rng(0)
    (root / "pool").mkdir(parents=True)
    sizes = []
    for number in range(POOL):
        data = picture(rng, kilobytes * rng.uniform(0.6, 1.4))
        (root / f"pool/{number}.jpg").write_bytes(data)
        sizes.append(len(data))
    found: dict[int, tuple[list[str], list[str]]] = {}
    total = 0

    def words(count: int) -> str:
        return " ".join(rng.choice(WORDS, count))

    def link(path: Path) -> int:
        drawn = int(rng.integers(POOL))
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(root / f"pool/{drawn}.jpg", path)
        return sizes[drawn]

    def text(path: Path, lines: list[str]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")

    for number in progress(range(items), what="corpus", unit="item"):
        id, side = 100_000 + number, number % 2
        folder = id % FOLDERS
        found.setdefault(number // (2 * ITEMS_A_QUERY), ([], []))[side].append(str(id))
        if side == 0:
            text(root / f"goods/text/{folder}/{id}.txt", [str(id), words(2), words(1), words(1), words(12), words(20)])
            total += link(root / f"goods/images/{folder}/{id}.jpg")
        else:
            text(root / f"video/text/{folder}/{id}.txt", [words(15), words(8), words(20)])
            names = [f"{folder}/{id}_{frame}.jpg" for frame in range(frames)]
            text(root / f"video/frameid/{folder}/{id}.txt", [",".join(names)])
            total += sum(link(root / "video/images" / name) for name in names)
    lines = [f"query {number} {words(3)}\t{','.join(goods) or None}\t{','.join(clips) or None}" for number, (goods, clips) in found.items()]
    text(root / "train_file/train.txt", lines)
    return total


def measure(folder: Path, items: int, workers: int, frames: int, kilobytes: float, profile: bool) -> dict[str, Any]:
    """What packing took, and what it would take at other sizes."""
    image_bytes = write_corpus(folder / "corpus", items, frames, kilobytes)
    profiler = cProfile.Profile()
    start = time.perf_counter()
    if profile:
        workers = 1
        profiler.enable()
    shards = ShardSet(pack(folder / "corpus", folder / "shards", workers=workers, overwrite=True)["train"])
    profiler.disable()
    seconds = time.perf_counter() - start
    if profile:
        pstats.Stats(profiler).sort_stats("tottime").print_stats(25)
    on_disk = sum(path.stat().st_size for path in shards.folder.rglob("*") if path.is_file())
    say(f"{len(shards):,} items in {seconds:.1f} s")
    return {
        "items": len(shards),
        "workers": workers,
        "images": items // 2 * (1 + frames),
        "corpus_gb": round(image_bytes / 1e9, 2),
        "seconds": round(seconds, 1),
        "items_per_s": round(len(shards) / seconds, 1),
        "mb_per_s": round(on_disk / seconds / 1e6, 1),
        "shards_gb": round(on_disk / 1e9, 2),
        "at": {
            str(many): {"hours": round(seconds * many / len(shards) / 3600, 1), "gb": round(on_disk * many / len(shards) / 1e9)} for many in SCALES
        },
    }


def main(argv: list[str] | None = None) -> None:
    """Parse the command line, write the corpus, pack it, print."""
    parser = CommandParser("python -m benchmarks.pack", __doc__)
    parser.add_argument("--items", type=int, default=20_000, help="half goods, half clips (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="packing processes (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=8, help="frames a clip (default: %(default)s)")
    parser.add_argument("--kilobytes", type=float, default=76.0, help="of an image, on average (default: %(default)s)")
    parser.add_argument("--folder", type=Path, help="a new folder on the disk to be written to (default: a temporary one)")
    parser.add_argument("--profile", action="store_true", help="pack in one process and list where its time goes")
    given = parser.parse_args(argv)
    if given.folder and given.folder.exists():
        raise ValueError(f"--folder {given.folder} exists; name a new one")
    folder = given.folder or Path(tempfile.mkdtemp(prefix="pack-"))
    try:
        print(json.dumps(measure(folder, given.items, given.workers, given.frames, given.kilobytes, given.profile)))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    run_command(main)
