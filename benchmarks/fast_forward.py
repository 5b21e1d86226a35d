"""Seconds from opening a shard set to the first batch: at the beginning of an epoch, and 100,000 samples later, as a run that is started again.

    python -m benchmarks.fast_forward [--samples 100000] [--batch_size 100]

1,000 small goods are packed once; the set names their shards as often as it takes, by links, and 10,000 samples more. Members that are read are
counted: a run that goes on reads those of its first batch, and none of what was consumed. The last line is one JSON object.
"""

from __future__ import annotations

import io
import json
import os
import tempfile
import time
from pathlib import Path

from PIL import Image

from launch.command import CommandParser, run_command
from launch.files import read_json, write_json
from pipeline.documents import DocumentPreparation, DocumentSettings
from pipeline.order import order_of
from pipeline.pack import pack
from pipeline.recipe import Stream
from pipeline.shards import MANIFEST, Sample, ShardSet
from pipeline.stream import Slice, training_batches

GOODS = 1000


def many_shards(folder: Path, samples: int) -> Path:
    """The folder of a split of at least so many samples."""
    file = io.BytesIO()
    Image.new("RGB", (32, 32), (200, 30, 30)).save(file, "JPEG")
    (folder / "corpus").mkdir(parents=True)
    (folder / "corpus/one.jpg").write_bytes(file.getvalue())
    lines = (
        json.dumps({"id": f"g{n}", "domain": "goods", "title": f"good {n}", "images": ["one.jpg"], "queries": [f"query {n}"]}) + "\n"
        for n in range(GOODS)
    )
    (folder / "corpus/train.jsonl").write_text("".join(lines))
    split = pack(folder / "corpus", folder / "shards", workers=1, vocab_size=200)["train"]
    manifest = read_json(split / MANIFEST)
    packed, copies = manifest["shards"], -(-samples // GOODS)
    manifest["shards"] = []
    for copy in range(copies):
        for shard in packed:
            name = f"{shard['name']}_{copy}"
            for suffix in (".tar", ".index.npz"):
                os.link(split / f"{shard['name']}{suffix}", split / f"{name}{suffix}")
            manifest["shards"].append(shard | {"name": name})
    manifest["counts"]["goods"] *= copies
    write_json(split / MANIFEST, manifest)
    return split


def first_batch(split: Path, batch_size: int, start: int) -> tuple[float, int]:
    """Seconds to the batch number `start` of an epoch, and how many members were read for it."""
    read, bytes_of = [0], Sample.bytes

    def counted(self: Sample, suffix: str) -> bytes:
        read[0] += 1
        return bytes_of(self, suffix)

    Sample.bytes = counted  # type: ignore[method-assign]
    try:
        begun = time.perf_counter()
        shards = ShardSet(split)
        settings = Stream(batch_size=batch_size, workers=0)
        tokenizer = shards.tokenizer()
        assert tokenizer is not None
        preparation = DocumentPreparation(DocumentSettings(), 32, tokenizer, settings)
        order = order_of(shards, settings, seed=0)
        part = Slice(0, 1)
        next(iter(training_batches(shards, order, preparation, seed=0, part=part, epochs=range(1), start=start, workers=0, prefetch=2)))
        return time.perf_counter() - begun, read[0]
    finally:
        Sample.bytes = bytes_of  # type: ignore[method-assign]


def main(argv: list[str] | None = None) -> None:
    """Parse the command line, measure, print."""
    parser = CommandParser("python -m benchmarks.fast_forward", __doc__)
    parser.add_argument("--samples", type=int, default=100_000, help="samples of the epoch that were consumed (default: %(default)s)")
    parser.add_argument("--batch_size", type=int, default=100, help="samples a batch (default: %(default)s)")
    given = parser.parse_args(argv)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        split = many_shards(Path(folder), given.samples + 10_000)
        first_batch(split, given.batch_size, 0)  # imports and file caches
        for where, start in (("at the beginning", 0), ("gone on", given.samples // given.batch_size)):
            seconds, members = first_batch(split, given.batch_size, start)
            found[where] = {"seconds": round(seconds, 3), "members_read": members}
    print(json.dumps({"samples": given.samples, "batch_size": given.batch_size, **found}))


if __name__ == "__main__":
    run_command(main)
