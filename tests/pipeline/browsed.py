"""A little trained run, its dumps of goods and video, and the finder that `evaluate.browse` makes of them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from evaluate.browse import open_finder
from evaluate.browsing.finder import Finder
from pipeline import embed
from pipeline import train as train_module
from pipeline.pack import pack
from tests.pipeline.little_corpus import SMALL, write_little_corpus


class Browsed(NamedTuple):
    """Folders of the corpus, the run, and the dumps of its test split."""

    corpus: Path
    run: Path
    dumps: tuple[str, str]

    def finder(self, *options: str, limit_s: float = 30.0) -> Finder:
        return open_finder(str(self.run), self.dumps, ["--device", "cpu", *options], limit_s)


def write_browsed(folder: Path) -> Browsed:
    """Eight goods and eight clips, one step of training."""
    corpus = write_little_corpus(folder / "corpus")
    shards = folder / "out/shards"
    pack(corpus, shards, workers=1, vocab_size=200, shard_samples=5)
    train_module.main([*SMALL, "--data", str(shards), "--out", str(folder / "run"), "--trainer.max_steps", "1"])
    dumps = [str(folder / "out/dumps" / domain) for domain in ("goods", "video")]
    for domain, dump in zip(("goods", "video"), dumps):
        embed_domain(folder / "run", shards / "test", domain, dump)
    return Browsed(corpus, folder / "run", (dumps[0], dumps[1]))


def embed_domain(run: Path, shards: Path, domain: str, dump: str | Path, extra: Sequence[str] = ()) -> None:
    where = ["--checkpoint", str(run), "--shards", str(shards), "--domain", domain, "--out", str(dump)]
    embed.main([*where, "--workers", "0", "--dtype", "float32", "--device", "cpu", *extra])


def photo(path: Path, form: str) -> bytes:
    """The picture in `path` as a file of another form, without loss where the form has none."""
    file = io.BytesIO()
    Image.open(path).save(file, form)
    return file.getvalue()
