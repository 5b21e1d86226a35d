"""The sample corpus as images with five captions each, in SCAN's layout, for the programs that measure CODER.

An image is the middle frame of a clip that shows one product; its regions are the places of a vision model's map (MobileNetV2 at 128 pixels: 4 x 4 of
1,280 features). Captions are made from what the sample corpus knows of the product, its kind, build, pattern and emblem; none names all four, so that
captions of products that are alike are alike, too, as people's are. A split has one clip of a product, so that no two images have the same five
captions: to train on, of the products that the training files know; for the test, a new clip of each of them and of the products that training has
not seen. Up to 720 products (`pipeline.sources.sample --products 720 --clips_per_product 3`) each have a caption that is theirs alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from launch.files import read_json, whole_folder
from launch.logs import progress
from models.encoders import load_vision
from pipeline.media.decoder import Decoder
from pipeline.media.transforms import Resize
from pipeline.sources import Entry, Source, open_source
from pipeline.sources.procedural.goods import EMBLEMS, PATTERNS, Product, catalogue
from pipeline.sources.procedural.words import product_queries
from pipeline.sources.sample import NEW_SHARE, SETTINGS

PIXELS = 128
AT_ONCE = 32

Shown = tuple[Path, Product]
"""A clip's file and the product in it."""


def write_captions(corpus: Path, vision: Path, out: Path) -> Path:
    """Write train_ims.npy, train_caps.txt and those of the test split to the folder `out`, unless it is there; returns it.

    Args:
        corpus: folder of `pipeline.sources.sample`.
        vision: a transformers model folder.

    Raises ValueError where the corpus is another one.
    """
    if out.is_dir():
        return out
    if not (corpus / SETTINGS).is_file():
        raise ValueError(f"--corpus {corpus}: no {SETTINGS}; give a folder that python -m pipeline.sources.sample wrote")
    settings = read_json(corpus / SETTINGS)
    products = {next(product_queries(product))[0]: product for product in catalogue(settings["products"], settings["seed"], NEW_SHARE)}
    source = open_source(corpus)
    splits = {split: _one_each(_shown(source, split, products)) for split in ("train", "test")}
    encoder = load_vision(vision, dim=1, image_size=PIXELS, frozen_layers="all").eval()
    with whole_folder(out) as folder:
        for split, shown in splits.items():
            regions = [
                encoder.outputs(frames).tokens for frames in progress(_frames(shown), total=-(-len(shown) // AT_ONCE), what=split, unit="batch")
            ]
            np.save(folder / f"{split}_ims.npy", torch.cat(regions).numpy().astype(np.float16))
            lines = [caption for _, product in shown for caption in captions(product)]
            (folder / f"{split}_caps.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return out


def captions(product: Product) -> tuple[str, ...]:
    """Five ways to speak of a product, each of which leaves something out."""
    name, build = product.category.name.english, product.build_name.english
    pattern, emblem = PATTERNS[product.pattern].english, EMBLEMS[product.emblem].english
    return (
        f"A {pattern} {name} with a {emblem} on it.",
        f"A {build} {name}, {pattern}.",
        f"This {build} {name} has a {emblem} on the front.",
        f"Someone shows a {pattern} {name}.",
        f"A {name} with a {emblem} sign moves about.",
    )


def _shown(source: Source, split: str, products: dict[str, Product]) -> Iterator[Shown]:
    """The clips of a split that show one product alone, each once."""
    queries: dict[str, set[str]] = {}
    clips: dict[str, Entry] = {}
    for entry in source.entries(split):
        if isinstance(entry, Entry) and entry.domain == "video":
            found = {query.words for query in entry.queries} | {str(entry.labels.get("query_words", ""))}
            queries.setdefault(entry.id, set()).update(found & products.keys())
            clips[entry.id] = entry
    for id, entry in clips.items():
        if len(queries[id]) == 1:
            (path,) = source.read(entry).media
            yield path, products[next(iter(queries[id]))]


def _one_each(shown: Iterator[Shown]) -> list[Shown]:
    """The first clip of each product."""
    first: dict[int, Shown] = {}
    for path, product in shown:
        first.setdefault(product.number, (path, product))
    return list(first.values())


def _frames(shown: Sequence[Shown]) -> Iterator[torch.Tensor]:
    """The middle frames, uint8 [n, 3, PIXELS, PIXELS], some at a time."""
    decoder, resize = Decoder(), Resize(PIXELS)
    for first in range(0, len(shown), AT_ONCE):
        frames = [resize(decoder.read(path, 1)) for path, _ in shown[first : first + AT_ONCE]]
        yield torch.from_numpy(np.concatenate(frames))
