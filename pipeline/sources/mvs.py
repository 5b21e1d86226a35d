"""The MVS and MVS-large layout (MQMC): frozen features of pairs of a clip and its product, as pickles that are read as data.

    MVS_train_dataset.pkl  MVS_val_dataset.pkl  MVS_test_dataset.pkl      or MVS_large_<split>_dataset.pkl; splits are those that have a file
    ontology.json, flare-2.json or one other .json in tree form           optional: names of categories (`pipeline.sources.ontology`)

A file is a pickled list with a dict for each pair (`pipeline.sources.pickles` says how it is read without being run); other keys are left alone:

    video                                   [C], [1, C] or [frames, C]     the clip's frames: their mean, or each
    videotext                               [D]                            the clip's words
    img, imgtext                            [C], [D]                       the product's photo and words
    first_, second_, third_cluster          one-hot                        the pair's category, from coarse to fine
    queue_index                             the number of second_cluster, or its one-hot

Arrays or tensors, of any sizes that are the same all through a split. A vector of zeros alone stands for what is absent.

The clip of the pair at position n (from 0) is item v<n>. Products that are equal number for number as float32 are one item, whose id follows from its
numbers: a product's relevant clips are those of all its pairs, and it is the same item in every split. The query that a product and its
clips share is its id: it says what belongs together and is nothing that people type.
Labels: `category` (names, or numbers where there are none) and `category_ids`.
A pair that does not fit this is rejected with its place and the reason.
"""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from launch.logs import say
from pipeline.item import Item, Query
from pipeline.sources import UNNUMBERED, BadItem, Entry, Rejected
from pipeline.sources.ontology import find_ontology, read_ontology
from pipeline.sources.pickles.elements import elements
from pipeline.sources.pickles.machine import kind_of
from pipeline.sources.pickles.stored import StoredArray

SPLITS = ("train", "val", "test")
FEATURES = {"video": {"vision": "video", "words": "videotext"}, "goods": {"vision": "img", "words": "imgtext"}}
"""Domain -> feature of an item -> key of a pair."""

_CLUSTERS = ("first_cluster", "second_cluster", "third_cluster")
_MIDDLE = _CLUSTERS[1]
_KEYS = ("video", "videotext", "img", "imgtext", *_CLUSTERS, "queue_index")
_FILE = re.compile(r"(MVS|MVS_large)_(train|val|test)_dataset\.pkl")


class MVS:
    """Reader of the MVS layout."""

    name = "mvs"
    looked_for = "MVS_train_dataset.pkl, MVS_val_dataset.pkl, MVS_test_dataset.pkl, or MVS_large_train_dataset.pkl and so on"
    queries_are_links = True

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        families = {found.group(1) for found in _files(self.root)}
        if len(families) > 1:
            raise ValueError(f"{self.root}: holds files of MVS and of MVS_large, which are two corpora; keep each in a folder of its own")
        (self._family,) = families
        self._names: list[dict[int, str]] | None = None

    @classmethod
    def recognise(cls, root: Path) -> bool:
        """True where there is a file of any split."""
        return bool(_files(Path(root)))

    def splits(self) -> tuple[str, ...]:
        """The splits that have a file."""
        return tuple(split for split in SPLITS if self._file(split).is_file())

    def list_files(self, split: str) -> list[Path]:
        """The pickle of the split; where there is an ontology, that, and the pickle whose categories it is fitted to."""
        ontology = find_ontology(self.root)
        files = [self._file(split), *([ontology, self._file(self.splits()[0])] if ontology else [])]
        return list(dict.fromkeys(files))

    def clusters(self, split: str) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Nothing: categories are labels of the items."""
        return iter(())

    def entries(self, split: str) -> Iterator[Entry | Rejected]:
        """For each pair its product, where no pair before had it, and its clip. The products' numbers are read, a clip's are not."""
        file, names = self._file(split), self._category_names()
        with open(file, "rb") as numbers, closing(_Pairs(file, numbers, names)) as pairs:
            for position, element in enumerate(elements(file)):
                try:
                    yield from pairs.entries(position, element)
                except BadItem as error:
                    yield Rejected(f"v{position}", "video", file.name, f"element {position}: {error.reason}")
            pairs.say_what_disagrees()

    def read(self, entry: Entry) -> Item:
        """The item's features out of the pickle, float32: `vision` [C] or [frames, C], `words` [D]."""
        try:
            with open(self.root / entry.file, "rb") as file:
                stored = {feature: StoredArray.from_json(described) for feature, described in json.loads(entry.payload).items()}
                features = _features(entry.domain, stored, file)
        except BadItem as error:
            raise BadItem(entry.file, f"element {entry.line}: {error.reason}") from error
        return Item(entry.id, entry.domain, entry.role, queries=entry.queries, labels=entry.labels, features=features)

    def ground_truth(self, split: str) -> dict[str, Iterator[tuple[str, list[str]]]]:
        """Nothing: what belongs together shares a query."""
        return {}

    def derives_ground_truth(self, split: str) -> bool:
        """True for every split that is not for training."""
        return split != "train"

    def _file(self, split: str) -> Path:
        return self.root / f"{self._family}_{split}_dataset.pkl"

    def _category_names(self) -> list[dict[int, str]]:
        """Number -> name at each level, told from the ontology and the categories of the first split, train where there is one."""
        ontology = find_ontology(self.root)
        if ontology is None:
            return [{} for _ in _CLUSTERS]
        if self._names is None:
            seen: set[tuple[int, ...]] = set()
            widths: tuple[int, ...] | None = None
            file = self._file(self.splits()[0])
            with open(file, "rb") as numbers:
                for element in elements(file):
                    try:
                        hot = [_numbers(element[key], key, numbers) for key in _CLUSTERS]
                        path = tuple(_one_hot(one, key) for one, key in zip(hot, _CLUSTERS))
                    except (BadItem, KeyError, TypeError):
                        continue  # `entries` names the element and its fault
                    widths = widths or tuple(map(len, hot))
                    if widths == tuple(map(len, hot)):
                        seen.add(path)
            self._names, remarks = read_ontology(ontology).names(seen, widths or (0,) * len(_CLUSTERS))
            for key, remark in zip(_CLUSTERS, remarks):
                if remark:
                    say(f"{ontology}: {key} of {file.name} {remark}")
        return self._names


class _Pairs:
    """The pairs of one file as entries, in one pass over them.

    Args:
        path: the file, for messages.
        file: the file, open for the numbers of arrays.
        names: number -> name of the categories of each level.
    """

    def __init__(self, path: Path, file: BinaryIO, names: list[dict[int, str]]) -> None:
        self._path, self._file, self._names = path, file, names
        self._lengths: dict[str, int] = {}
        self._products = sqlite3.connect("")  # in a temporary file, so that memory stays flat
        self._products.execute("CREATE TABLE products (id TEXT PRIMARY KEY, position INTEGER, category TEXT) WITHOUT ROWID")
        self._disagreeing, self._example = 0, ""

    def entries(self, position: int, element: Any) -> Iterator[Entry | Rejected]:
        """Raises BadItem where the pair, its category or its product is at fault; a product at fault is rejected first."""
        if not isinstance(element, dict):
            raise BadItem("", f"is {kind_of(element)}, not a dict")
        if lacking := [key for key in _KEYS if key not in element]:
            raise BadItem("", f"lacks {', '.join(lacking)}; it has {', '.join(map(str, element)) or 'nothing':.200}")
        arrays = {key: _vector(element, key) for keys in FEATURES.values() for key in keys.values()}
        hot = {key: _numbers(element[key], key, self._file) for key in _CLUSTERS}
        lengths = {key: array.shape[-1] for key, array in arrays.items()} | {key: len(numbers) for key, numbers in hot.items()}
        for key, first in self._lengths.items():
            if lengths[key] != first:
                raise BadItem("", f"{key} has {lengths[key]} numbers, in the elements before {first}")
        numbers = [_one_hot(hot[key], key) for key in _CLUSTERS]
        _check_queue_index(_numbers(element["queue_index"], "queue_index", self._file), len(hot[_MIDDLE]), numbers[1])
        stored = {domain: {name: arrays[key] for name, key in keys.items()} for domain, keys in FEATURES.items()}
        category = [names.get(number, str(number)) for names, number in zip(self._names, numbers)]
        labels = {"category": category, "category_ids": numbers}
        try:
            product, is_new = self._product(position, _features("goods", stored["goods"], self._file), numbers)
        except BadItem as error:
            yield Rejected(f"p{position}", "goods", self._path.name, f"element {position}: {error.reason}")
            raise BadItem("", f"its product is left out: {error.reason}") from error
        self._lengths = lengths
        for domain, id in (("goods", product), ("video", f"v{position}")):
            if domain == "video" or is_new:
                payload = json.dumps({name: array.as_json() for name, array in stored[domain].items()}, separators=(",", ":"))
                queries = (Query(UNNUMBERED, product),)
                yield Entry(id, domain, queries=queries, labels=labels, payload=payload, file=self._path.name, line=position)

    def say_what_disagrees(self) -> None:
        """Tell the person of clips that were paired with a product in spite of what their categories say."""
        if self._disagreeing:
            what = "clips have another category than their product has from an element before"
            say(f"{self._path}: {self._disagreeing:,} {what}, e.g. {self._example}")

    def close(self) -> None:
        """Let go of the table of products."""
        self._products.close()

    def _product(self, position: int, features: dict[str, np.ndarray], category: list[int]) -> tuple[str, bool]:
        """(id of the product, whether no pair before had it)."""
        id = product_id(features)
        known = self._products.execute("SELECT position, category FROM products WHERE id = ?", (id,)).fetchone()
        if known is None:
            self._products.execute("INSERT INTO products VALUES (?, ?, ?)", (id, position, json.dumps(category)))
        elif json.loads(known[1]) != category:
            self._disagreeing += 1
            self._example = self._example or f"element {position} has {category}, element {known[0]} {known[1]}"
        return id, known is None


def product_id(features: dict[str, np.ndarray]) -> str:
    """p and twenty hexadecimal digits that follow from the product's features, float32 by name, and from nothing else."""
    digest = hashlib.blake2b(digest_size=10)
    for name, array in sorted(features.items()):
        digest.update(name.encode() + array.tobytes())
    return f"p{digest.hexdigest()}"


def _files(root: Path) -> list[re.Match[str]]:
    return [found for file in sorted(root.glob("MVS*.pkl")) if (found := _FILE.fullmatch(file.name)) and file.is_file()]


def _features(domain: str, stored: dict[str, StoredArray], file: BinaryIO) -> dict[str, np.ndarray]:
    """The features that are there, float32. Raises BadItem where a number is not finite, or none is there."""
    found = {}
    for feature, array in stored.items():
        key = FEATURES[domain][feature]
        with np.errstate(over="ignore"):
            numbers = np.ascontiguousarray(array.read(file), dtype=np.float32)
        if not np.isfinite(numbers).all():
            count = np.count_nonzero(~np.isfinite(numbers))
            raise BadItem("", f"{key} has {count} numbers of {numbers.size} that are not finite in float32")
        if numbers.any():
            found[feature] = numbers[0] if len(numbers.shape) == 2 and len(numbers) == 1 else numbers
    if not found:
        raise BadItem("", f"{' and '.join(FEATURES[domain].values())} are zeros alone: nothing is there")
    return found


def _vector(element: dict[Any, Any], key: str) -> StoredArray:
    """The array under `key`, its shape checked, its numbers not read."""
    array, frames = element[key], key == "video"
    if not isinstance(array, StoredArray) or array.data is None:
        raise BadItem("", f"{key} is {kind_of(array)}; wanted an array or a tensor")
    if len(array.shape) not in (1, 2) or 0 in array.shape or (len(array.shape) == 2 and array.shape[0] > 1 and not frames):
        raise BadItem("", f"{key} has shape {list(array.shape)}; wanted [C]{' or [frames, C]' if frames else ''}")
    return array


def _numbers(value: Any, key: str, file: BinaryIO) -> np.ndarray:
    """A number, a list of numbers, or an array [n] or [1, n], as an array [n]."""
    if isinstance(value, StoredArray) and value.data is not None and value.shape[:-1] in ((), (1,)):
        return value.read(file).reshape(-1)
    numbers = value if isinstance(value, list) else [value]
    if not numbers or not all(isinstance(number, (int, float)) for number in numbers):
        shape = f" of shape {list(value.shape)}" if isinstance(value, StoredArray) else ""
        raise BadItem("", f"{key} is {kind_of(value)}{shape}; wanted numbers, [n]")
    return np.array(numbers)


def _one_hot(numbers: np.ndarray, key: str) -> int:
    """Where the one is. Raises BadItem where there is not one 1 among zeros."""
    others = np.count_nonzero(numbers)
    if others != 1 or numbers.max() != 1:
        raise BadItem("", f"{key} is not one-hot: {others} of its {len(numbers)} numbers are not 0, the largest is {numbers.max(initial=0)}")
    return int(numbers.argmax())


def _check_queue_index(numbers: np.ndarray, categories: int, middle: int) -> None:
    """Raises BadItem where `queue_index`, one number or one-hot, is not the category of the middle level."""
    if len(numbers) not in (1, categories):
        raise BadItem("", f"queue_index has {len(numbers)} numbers; wanted one, or one for each of the {categories} categories of {_MIDDLE}")
    number = numbers[0] if len(numbers) == 1 else _one_hot(numbers, "queue_index")
    if number != middle:
        raise BadItem("", f"queue_index is {number}, {_MIDDLE} is category {middle}")
