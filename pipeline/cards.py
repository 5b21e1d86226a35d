"""Frames and words of the items that a report shows: pictures small enough for a page, and a JSON file.

    python -m pipeline.cards --shards SHARDS/test --ranked OUT/ranked.h5 --ground_truth SHARDS/test/ground_truth/video2goods.tsv --out OUT/cards

OUT/cards/cards.json = {"video": {id: {"title", "words", "images": ["video-0-0.jpg", ...]}}, "goods": {...}}; the images lie beside it. An item of
domain query has words alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from PIL import Image

from evaluate.judging.ground_truth import GroundTruth, read_ground_truth
from evaluate.ranked import Ranked
from evaluate.report import shown
from evaluate.search import domains_of
from launch.command import CommandParser, run_command
from launch.files import whole_folder, write_json
from pipeline.frames import FrameReader
from pipeline.item import CLIPS
from pipeline.shards import Sample, ShardSet

FRAMES = 5
HEIGHT = 160
"""Pixels of a picture on the page."""


def write_cards(shards: ShardSet, ranked: Ranked, truth: GroundTruth, out: str | Path, *, queries: int = 24, decoder: str = "decord") -> Path:
    """Write the cards of the items that the report of `ranked` shows, and return their folder.

    Args:
        queries: how many queries the report shows.
        decoder: video backend.

    Raises:
        ValueError: an item's media cannot be read now, though it was packed and embedded.
    """
    wanted = shown(ranked, truth, queries)
    out = Path(out)
    cards: dict[str, dict[str, Any]] = {}
    reader = FrameReader(decoder)
    with whole_folder(out) as folder:
        for domain, ids in zip(domains_of(ranked.attributes.task), (wanted["queries"], wanted["docs"])):
            for place, sample in enumerate(samples_of(shards, domain, set(ids))):
                cards.setdefault(domain, {})[sample.id] = card_of(sample, reader, folder, f"{domain}-{place}")
        write_json(folder / "cards.json", cards)
    return out


def samples_of(shards: ShardSet, domain: str, ids: set[str]) -> Iterable[Sample]:
    """The samples with these ids; looks through the indexes, a shard at a time."""
    for number in shards.of_domain(domain):
        shard = shards.shard(number)
        for row, item in enumerate(shard.ids):
            if item in ids:
                yield shard.sample(row)


def card_of(sample: Sample, reader: FrameReader, folder: Path, stem: str) -> dict[str, Any]:
    """The card of a sample; its pictures are written into `folder` under names that begin with `stem`."""
    words = sample.words()
    frames = reader.read(sample, FRAMES if sample.domain in CLIPS else 1, None, 2 * HEIGHT) or []
    images = []
    for place, frame in enumerate(frames):
        picture = Image.fromarray(frame)
        picture.thumbnail((4 * HEIGHT, HEIGHT))
        images.append(f"{stem}-{place}.jpg")
        picture.save(folder / images[-1], quality=85)
    # An item of features alone is known by its category.
    title = words.get("title") or " > ".join(map(str, sample.record["labels"].get("category", ()) if not words and not images else ()))
    return {"title": title, "words": words, "images": images}


def main(argv: list[str] | None = None) -> None:
    parser = CommandParser("python -m pipeline.cards", __doc__)
    parser.add_argument("--shards", required=True, help="packed split that was searched, e.g. SHARDS/test")
    parser.add_argument("--ranked", required=True, help="ranked.h5 of evaluate.search")
    parser.add_argument("--ground_truth", required=True, help="ground truth of the task")
    parser.add_argument("--out", required=True, help="folder for cards.json and pictures")
    parser.add_argument("--queries", type=int, default=24, help="queries that the report shows (default 24)")
    arguments = parser.parse_args(argv)
    truth = read_ground_truth(arguments.ground_truth)
    write_cards(ShardSet(arguments.shards), Ranked(arguments.ranked), truth, arguments.out, queries=arguments.queries)


if __name__ == "__main__":
    run_command(main)
