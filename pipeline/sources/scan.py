"""The layout of SCAN's precomputed features (Flickr30K and MSCOCO): regions of images as arrays, five captions an image.

    train_ims.npy      [N, k, D] floating point: k regions of each of N images, or of 5 N rows where every image is repeated five times
    train_caps.txt     5 N lines: five captions for each image, those of one image together
    train_ids.txt      optional: a line for each image, or for each caption, with the image's id
    dev_, test_, testall_…     likewise; they become the splits val, test and testall (MSCOCO's 5,000 images)

An image is an item of domain image, whose id is its number in the file (from 0) or that of the ids file, with the feature `regions` [k, D], float16.
Each of its captions is an item of domain text with the id <image>_<k>, k from 0 to 4. What belongs together shares a query, the image's id, which
says that alone and is nothing that people type; so a caption has one relevant image, and an image five captions, in every split.

Splits that are not for training carry the label `fold`, an image's number divided by 1,000: numbers on MSCOCO's "1K" are means over five folds
of 1,000 images each (`evaluate.folds`).

The arrays are mapped, never read whole. A row whose numbers are not finite, and five rows that should be one image and differ, are rejected; so is a
caption without words.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np

from pipeline.item import Item, Query
from pipeline.regions import REGIONS
from pipeline.sources import UNNUMBERED, BadItem, Entry, Rejected, decode

STEMS = {"train": "train", "val": "dev", "test": "test", "testall": "testall"}
"""Split -> how its files' names begin."""
CAPTIONS = 5
"""Of each image."""
FOLD_IMAGES = 1000
"""Images of a fold."""


class Scan:
    """Reader of SCAN's layout."""

    name = "scan"
    looked_for = "train_ims.npy with train_caps.txt (or dev_, test_, testall_)"
    queries_are_links = True

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    @classmethod
    def recognise(cls, root: Path) -> bool:
        """True where a split has its regions and its captions."""
        return any(_files(Path(root), stem) for stem in STEMS.values())

    def splits(self) -> tuple[str, ...]:
        """The splits that have regions and captions."""
        return tuple(split for split, stem in STEMS.items() if _files(self.root, stem))

    def list_files(self, split: str) -> list[Path]:
        """The captions and the ids. Of the regions, which may be tens of gigabytes, listing reads the head alone."""
        return [path for name in ("caps.txt", "ids.txt") if (path := self._path(split, name)).is_file()]

    def clusters(self, split: str) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Nothing: there are no clusters."""
        return iter(())

    def entries(self, split: str) -> Iterator[Entry | Rejected]:
        """Each image, followed by its captions.

        Raises ValueError where the files do not go together: both numbers are named.
        """
        regions, captions = self._path(split, "ims.npy"), self._path(split, "caps.txt")
        rows = len(_array(regions))
        texts = [_text(line, captions, number) for number, line in enumerate(_lines(captions), 1)]
        if len(texts) not in (rows, CAPTIONS * rows) or len(texts) % CAPTIONS or not texts:
            raise ValueError(
                f"{regions} has {rows} rows and {captions.name} {len(texts)} captions; wanted {CAPTIONS} captions for each row, or each image's row "
                f"{CAPTIONS} times, once a caption"
            )
        repeated = CAPTIONS if len(texts) == rows else 1
        for image, id in enumerate(self._ids(split, len(texts) // CAPTIONS)):
            queries, labels = (Query(UNNUMBERED, id),), {} if split == "train" else {"fold": image // FOLD_IMAGES}
            place = f"{image * repeated} {repeated}"
            yield Entry(id, "image", queries=queries, labels=labels, payload=place, file=regions.name, line=image * repeated)
            for number in range(CAPTIONS):
                line = CAPTIONS * image + number
                text, own = texts[line], f"{id}_{number}"
                if isinstance(text, BadItem):
                    yield Rejected(own, "text", captions.name, text.reason)
                else:
                    yield Entry(own, "text", queries=queries, labels=labels, payload=text, file=captions.name, line=line + 1)

    def read(self, entry: Entry) -> Item:
        """A caption, or an image's regions."""
        if entry.domain == "text":
            return Item(entry.id, entry.domain, entry.role, {"caption": entry.payload}, queries=entry.queries, labels=entry.labels)
        first, count = map(int, entry.payload.split())
        rows = _array(self.root / entry.file)[first : first + count]
        regions = np.array(rows[0])
        if not np.isfinite(regions).all():
            raise BadItem(entry.file, f"row {first} holds a number that is not finite")
        if not all(np.array_equal(regions, row) for row in rows[1:]):
            raise BadItem(entry.file, f"rows {first} to {first + count - 1} are one image in this layout, but they differ")
        return Item(entry.id, entry.domain, entry.role, queries=entry.queries, labels=entry.labels, features={REGIONS: regions})

    def ground_truth(self, split: str) -> dict[str, Iterator[tuple[str, list[str]]]]:
        """Nothing: what belongs together shares a query."""
        return {}

    def derives_ground_truth(self, split: str) -> bool:
        """True for every split: of train it shows how far a run has learnt its images by heart."""
        return True

    def _path(self, split: str, name: str) -> Path:
        return self.root / f"{STEMS[split]}_{name}"

    def _ids(self, split: str, images: int) -> list[str]:
        path = self._path(split, "ids.txt")
        if not path.is_file():
            return [str(number) for number in range(images)]
        ids = [decode(line, path.name).strip() for line in _lines(path)]
        if len(ids) not in (images, CAPTIONS * images):
            raise ValueError(f"{path}: {len(ids)} ids for {images} images and {CAPTIONS * images} captions; wanted a line for each of either")
        ids = ids[:: len(ids) // images]
        if not all(ids):
            raise ValueError(f"{path}: the id of image {ids.index('')} is empty")
        return ids


def _files(root: Path, stem: str) -> bool:
    return (root / f"{stem}_ims.npy").is_file() and (root / f"{stem}_caps.txt").is_file()


def _lines(path: Path) -> list[bytes]:
    lines = path.read_bytes().split(b"\n")  # nothing else ends a line: captions come as people typed them
    return lines if lines[-1] else lines[:-1]


def _text(line: bytes, path: Path, number: int) -> str | BadItem:
    try:
        return decode(line, path.name).strip() or BadItem(path.name, f"line {number} is empty")
    except BadItem as error:
        return BadItem(path.name, f"line {number}: {error.reason}")


def _array(path: Path) -> np.ndarray:
    return _mapped(path, path.stat().st_mtime_ns)


@lru_cache(4)
def _mapped(path: Path, written: int) -> np.ndarray:
    """The regions in a file `written` then. Raises ValueError where the file is no array [N, k, D] of floating-point numbers."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"{path}: no .npy array that can be mapped: {error}") from error
    if array.ndim != 3 or not array.size or array.dtype.kind != "f":
        raise ValueError(f"{path}: {array.dtype} of the shape {list(array.shape)}; wanted floating-point numbers [images, regions, features]")
    return array
