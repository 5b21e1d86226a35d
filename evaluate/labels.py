"""Labels of items (category, brand, ...) as they stand in HDF5 files: a column of small numbers for each label, and what the numbers stand for.

    labels/<number>          a group for each label; attribute `key` is the label's name
    labels/<number>/codes    int32 [n], one a row; -1 where the item lacks the label
    labels/<number>/values   [M] the different values, JSON texts

A category is by custom a list from coarse to fine. Twenty million items have a few thousand categories: filters and tables look at
those, not at the items. Legend: n rows, M different values.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np

MISSING = -1


class LabelValues:
    """Different values of one label, JSON texts, numbered in the order in which they came."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    @property
    def texts(self) -> list[str]:
        """The values so far, by number."""
        return list(self._numbers)

    def numbers(self, texts: Iterable[str]) -> np.ndarray:
        """int32 numbers of `texts`; those that are new get the next ones."""
        return np.array([self._numbers.setdefault(text, len(self._numbers)) for text in texts], np.int32)

    def codes(self, file: h5py.File, key: str) -> np.ndarray:
        """int32 [n]: the label `key` of every row of the HDF5 `file` by these numbers, -1 where it is missing."""
        group = _group(file, key)
        if group is None:
            return np.full(len(file["ids"]), MISSING, np.int32)
        # A last entry, which stands for -1.
        renumbered = np.append(self.numbers(group["values"].asstr()[:]), np.int32(MISSING))
        return renumbered[group["codes"][:]]


def write_labels(file: h5py.File, labels: Sequence[Mapping[str, Any]]) -> None:
    """Store the labels of all rows, in order. The same labels give the same bytes."""
    for number, key in enumerate(sorted({key for own in labels for key in own})):
        texts = [json.dumps(own[key], sort_keys=True) if key in own else None for own in labels]
        values = sorted({text for text in texts if text is not None})
        places = {text: place for place, text in enumerate(values)}
        group = file.create_group(f"labels/{number}")
        group.attrs["key"] = key
        group.create_dataset("codes", data=np.array([MISSING if text is None else places[text] for text in texts], np.int32))
        group.create_dataset("values", data=values, dtype=h5py.string_dtype("utf-8"))


def label_keys(file: h5py.File) -> list[str]:
    """Names of the labels that the HDF5 `file` holds."""
    return sorted(str(group.attrs["key"]) for group in _groups(file))


@dataclass(frozen=True)
class Only:
    """A filter by labels: for each key the values, one of which an item must have."""

    wanted: Mapping[str, tuple[str, ...]]

    @classmethod
    def parse(cls, terms: Sequence[str]) -> Only:
        """From `category=Fruit` terms: several of one key mean any of them, those of two keys mean both.

        Raises ValueError for a term without = or with nothing on a side of it.
        """
        wanted: dict[str, tuple[str, ...]] = {}
        for term in terms:
            key, _, value = term.partition("=")
            if not key or not value:
                raise ValueError(f"{term!r} is no filter: give LABEL=VALUE, e.g. category=Fruit")
            wanted[key] = (*wanted.get(key, ()), value)
        return cls(wanted)

    def __bool__(self) -> bool:
        return bool(self.wanted)

    def __str__(self) -> str:
        return " ".join(f"{key}={value}" for key, values in self.wanted.items() for value in values)

    def allows(self, key: str, text: str) -> bool:
        """True where the value `text` (JSON) of the label `key` is one of those wanted.

        A list (a category's path) is so by any of its levels (`Fruit`), or by its first ones joined with / (`Food/Fruit`).
        """
        value = json.loads(text)
        levels = [_plain(level) for level in value] if isinstance(value, list) else [_plain(value)]
        paths = {"/".join(levels[:depth]) for depth in range(1, len(levels) + 1)}
        return any(wanted in levels or wanted in paths for wanted in self.wanted[key])


def level_name(text: str, depth: int) -> str | None:
    """What a person calls the first `depth` levels of a label's value `text` (JSON): `Food / Fruit`; None for an empty one."""
    value = json.loads(text)
    levels = [_plain(level) for level in value[:depth]] if isinstance(value, list) else [_plain(value)]
    return " / ".join(levels) or None


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)


def _groups(file: h5py.File) -> list[h5py.Group]:
    return list(file["labels"].values()) if "labels" in file else []


def _group(file: h5py.File, key: str) -> h5py.Group | None:
    return next((group for group in _groups(file) if group.attrs["key"] == key), None)
