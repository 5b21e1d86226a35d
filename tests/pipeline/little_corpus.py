"""A catalogue small enough to train on in a test: goods and clips of a few colours and patterns, some without words, in two splits."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.pipeline.corpora import write_catalog

SMALL = [
    *("--recipe", "qcd:smoke", "--packing.holdout_videos", "0", "--packing.vocab_size", "200"),
    *("--system.dim", "32", "--system.heads", "2", "--system.decoder_width", "32", "--system.image_size", "32", "--system.dropout", "0"),
    *("--stream.batch_size", "12", "--stream.workers", "0", "--trainer.precision", "fp32", "--trainer.log_every", "1", "--optim.warmup_steps", "0"),
    *("--trainer.threads", "1"),  # tests run side by side, a process a core
]
"""Flags of a run that takes a moment: small layers, no dropout, batches of 12."""


def write_little_corpus(root: Path, products: int = 8, clips: int = 3, clusters: bool = False) -> Path:
    """`products` goods, `clips` training clips and one test clip of each; every second clip has no words, every product two queries, in
    four clusters where wanted."""
    rng = np.random.default_rng(0)
    looks = rng.integers(0, 256, (products, 6, 6, 3), dtype=np.uint8)
    records, files = [], {}

    def photo(name: str, product: int) -> str:
        shaken = np.clip(looks[product].astype(int) + rng.integers(-30, 31, (6, 6, 3)), 0, 255).astype(np.uint8)
        data = io.BytesIO()
        Image.fromarray(shaken).resize((48, 40), Image.Resampling.NEAREST).save(data, "JPEG")
        files[name] = data.getvalue()
        return name

    for product in range(products):
        queries: list[Any] = [f"item {product}", f"group {product % 2}"]
        if clusters:
            queries = [{"words": words, "cluster": [product % 4 if words.startswith("item") else product % 2]} for words in queries]
        for split in ("train", "test"):
            images = [photo(f"goods/{split}{product}.jpg", product)]
            good = {"id": f"g{product}", "domain": "goods", "title": f"item number {product}", "images": images}
            records.append(good | {"split": split, "queries": queries})
        for clip in range(clips + 1):
            frames = [photo(f"clips/{product}_{clip}_{frame}.jpg", product) for frame in range(3)]
            split = "train" if clip < clips else "test"
            words = {"title": f"look at item {product}"} if clip % 2 else {}
            records.append({"id": f"v{product}_{clip}", "domain": "video", "split": split, "images": frames, "queries": queries} | words)
    return write_catalog(root, records, files)
