"""Memory of training's stream and of embedding does not grow with the number of items."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.pack import pack
from tests.pipeline.corpora import picture, write_catalog

ROOT = Path(__file__).resolve().parents[2]

MEASURE = """
import json, re, sys
from pathlib import Path
import torch
from pipeline.embed import embed_shards
from pipeline.order import order_of
from pipeline.recipes.qcd.build import build
from pipeline.recipes.qcd.runs import smoke
from pipeline.shards import ShardSet
from pipeline.stream import Slice, training_batches
import dataclasses

folder = Path(sys.argv[1])
shards = ShardSet(folder, open_shards=4)
base = smoke()
small = dataclasses.replace(base.system, dim=16, heads=2, image_size=16, decoder_width=16)
recipe = dataclasses.replace(base, system=small, stream=dataclasses.replace(base.stream, policy="document", batch_size=16, window_shards=2))
system = build(recipe, shards.tokenizer())
# ru_maxrss would begin at the peak of the process that started this one.
peak = lambda: int(re.search(r"VmHWM:\\s+([0-9]+) kB", Path("/proc/self/status").read_text())[1]) / 1024
order = order_of(shards, recipe.stream, 0)
stream = training_batches(shards, order, system.preparation(True), seed=0, part=Slice(0, 1), epochs=range(1), workers=0, prefetch=2)
seen = sum(len(batch["frames"]) for batch in stream)
after_stream = peak()
embed_shards(system, shards, "goods", folder / "dump", recipe=recipe, checkpoint="x", device=torch.device("cpu"), precision="fp32",
             batch_size=64, workers=0, quiet=True)
print(json.dumps({"seen": seen, "stream": after_stream, "embed": peak()}))
"""


def peaks(folder: Path) -> dict[str, float]:
    """Peak resident megabytes after streaming one epoch, and after embedding, in a process of its own."""
    command = [sys.executable, "-c", MEASURE, str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, float]]:
    found = {}
    for items in (300, 3000):
        folder = tmp_path_factory.mktemp(f"items{items}")
        long_words = "word " * 40
        records = [
            {"id": f"g{n}", "domain": "goods", "title": f"{long_words}{n}", "images": ["one.jpg"], "queries": [f"query {n}"], "split": "train"}
            for n in range(items)
        ]
        corpus = write_catalog(folder / "corpus", records, {"one.jpg": picture()})
        found[items] = peaks(pack(corpus, folder / "shards", workers=1, shard_samples=50, vocab_size=100)["train"])
    return found


def test_streaming_ten_times_the_items_takes_no_more_memory(measured):
    assert measured[3000]["seen"] == 3008 and measured[300]["seen"] == 304
    # All 3,000 records held as Python objects would be some 6 MB more.
    assert measured[3000]["stream"] - measured[300]["stream"] < 4


def test_embedding_ten_times_the_items_takes_no_more_memory(measured):
    assert measured[3000]["embed"] - measured[300]["embed"] < 4
