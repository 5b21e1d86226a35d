"""Frames and words of the items that a report shows: pictures small enough for a page, and a JSON file.

    python -m pipeline.cards --shards SHARDS/test --ranked OUT/ranked.h5 --ground_truth SHARDS/test/ground_truth/video2goods.tsv --out OUT/cards
    python -m pipeline.cards --shards SHARDS/test --comparison OUT/compare --out OUT/compare/cards

OUT/cards/cards.json = {"video": {id: {"title", "words", "images": ["video-0-0.jpg", ...]}}, "goods": {...}}; the images lie beside it. An item of
domain query has words alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from evaluate.judging.ground_truth import read_ground_truth
from evaluate.ranked import Ranked
from evaluate.report import shown
from evaluate.search import domains_of
from launch.command import CommandParser, run_command
from launch.files import read_json, whole_folder, write_json
from pipeline.frames import FrameReader
from pipeline.item import CLIPS
from pipeline.shards import Sample, ShardSet

FRAMES = 5
HEIGHT = 160
"""Pixels of a picture on the page."""


def write_cards(shards: ShardSet, task: str, wanted: Mapping[str, Iterable[str]], out: str | Path, decoder: str = "decord") -> Path:
    """Write the cards of the items that a page shows, and return their folder.

    Args:
        task: e.g. "video2goods", whose domains the items are of.
        wanted: {"queries": ids, "docs": ids}, as `evaluate.report.shown` and compare.json name them.
        decoder: video backend.

    Raises:
        ValueError: an item is not among the shards, or its media cannot be read now, though it was packed and embedded.
    """
    out = Path(out)
    cards: dict[str, dict[str, Any]] = {}
    reader = FrameReader(decoder)
    with whole_folder(out) as folder:
        for domain, ids in zip(domains_of(task), (set(wanted["queries"]), set(wanted["docs"]))):
            for place, sample in enumerate(samples_of(shards, domain, ids)):
                cards.setdefault(domain, {})[sample.id] = card_of(sample, reader, folder, f"{domain}-{place}")
            if missing := sorted(ids - cards.get(domain, {}).keys()):
                raise ValueError(f"{shards.folder}: no {domain} item {missing[0]!r} ({len(missing)} missing); name the shards that were searched")
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
    parser.add_argument("--ranked", help="ranked.h5 of evaluate.search: cards for its report")
    parser.add_argument("--ground_truth", help="ground truth of the task, with --ranked")
    parser.add_argument("--comparison", metavar="FOLDER", help="in place of both: folder with compare.json of evaluate.compare, cards for its page")
    parser.add_argument("--out", required=True, help="folder for cards.json and pictures")
    parser.add_argument("--queries", type=int, default=24, help="queries that the report of --ranked shows (default 24)")
    given = parser.parse_args(argv)
    if given.comparison is None:
        if given.ranked is None or given.ground_truth is None:
            raise ValueError("--ranked with --ground_truth, or --comparison: one of them says which items are shown")
        ranked = Ranked(given.ranked)
        task, wanted = ranked.attributes.task, shown(ranked, read_ground_truth(given.ground_truth), given.queries)
    elif given.ranked is not None or given.ground_truth is not None:
        raise ValueError("--comparison knows its lists; leave out --ranked and --ground_truth")
    else:
        said = read_json(Path(given.comparison) / "compare.json")
        task, wanted = said["task"], said["shown"]
    write_cards(ShardSet(given.shards), task, wanted, given.out)


if __name__ == "__main__":
    run_command(main)
