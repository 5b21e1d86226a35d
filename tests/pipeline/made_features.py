"""A little corpus with its features, and further runs over it."""

from __future__ import annotations

import json
from pathlib import Path

from pipeline import features
from pipeline.pack import pack
from pipeline.shards import ShardSet
from tests.pipeline.little_corpus import write_little_corpus
from tests.pipeline.little_features import write_models


class Made:
    """A little corpus, its packed splits, flags of tiny models, and the features they give."""

    def __init__(self, folder: Path) -> None:
        self.corpus = write_little_corpus(folder / "corpus", products=4, clips=2)
        records = map(json.loads, (self.corpus / "catalog.jsonl").read_text().splitlines())
        self.records = {record["id"]: record for record in records if record["split"] == "train"}
        self.shards = folder / "shards"
        pack(self.corpus, self.shards, workers=1, shard_samples=3, vocab_size=200)
        self.flags = write_models(folder / "models", self.shards / "train/tokenizer")
        self.folders = dict(zip(self.flags[:4:2], self.flags[1:4:2]))
        self.out = folder / "features"
        features.main(["--data", str(self.shards), "--out", str(self.out), *self.flags])

    def pictures(self, id: str) -> list[bytes]:
        return [(self.corpus / name).read_bytes() for name in self.records[id]["images"]]


def run(made: Made, out: Path, *flags: str, data: Path | None = None) -> ShardSet:
    """The train split's features under the tiny models and `flags`."""
    features.main(["--data", str(data or made.shards), "--out", str(out), "--splits", "train", *made.flags, *flags])
    return ShardSet(out / "train")
