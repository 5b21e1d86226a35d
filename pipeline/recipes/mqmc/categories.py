"""The two upper levels of a corpus' ontology: the middle categories, each with a queue, and the upper ones over them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from launch.distributed import broadcast_object
from launch.logs import is_main
from pipeline.shards import ShardSet
from pipeline.shards.readable import readable_samples

Names = tuple[str, ...]

MVS_UPPER = tuple(upper for upper, middles in enumerate((5, 4, 5, 5, 4, 7)) for _ in range(middles))
"""The upper category of each of the 30 middle ones of MVS and MVS-large, by the ontology that is published with them."""
MVS_LEFT_OUT = (8, 18)
"""Middle categories of MVS that are in no upper one of the released program's map."""


@dataclass(frozen=True)
class Categories:
    """Middle categories by number, and the upper one of each.

    A good's middle category is its `labels["category_ids"][1]` where the corpus numbers categories itself; else `names` numbers the first two
    levels of its `labels["category"]`.
    """

    upper: tuple[int, ...]
    """of each middle category; -1 for a number that no good has"""
    names: tuple[Names, ...] | None = None
    """upper and middle name of each middle category; None where the corpus numbers them itself"""

    def middle_of(self, labels: Mapping[str, Any], where: str) -> int:
        """The number of a good's middle category.

        Raises:
            ValueError: it has none, or one that the train split has not; `where` names the good.
        """
        if self.names is None:
            middle = _numbers(labels, where)[1]
            if middle >= len(self.upper):
                raise ValueError(f"{where}: its middle category is {middle}, but the train split has numbers up to {len(self.upper) - 1}")
            return middle
        path = _path(labels, where)
        if path not in self._number:
            raise ValueError(f"{where}: no good of the train split has its category {' > '.join(path)}")
        return self._number[path]

    @cached_property
    def _number(self) -> dict[Names, int]:
        return {path: number for number, path in enumerate(self.names or ())}

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able values; `from_dict` reads them back."""
        return {"upper": list(self.upper), "names": None if self.names is None else [list(path) for path in self.names]}

    @staticmethod
    def from_dict(values: dict[str, Any]) -> Categories:
        names = values["names"]
        return Categories(tuple(values["upper"]), None if names is None else tuple(tuple(path) for path in names))


def categories_of(shards: ShardSet) -> Categories:
    """The categories of the split's goods. Rank 0 reads them all; all ranks call this together.

    Raises:
        ValueError: a good has no category, or a middle category has two upper ones.
    """
    return broadcast_object(_read(shards) if is_main() else None)  # type: ignore[return-value]


def _read(shards: ShardSet) -> Categories:
    upper_of: dict[int, int] = {}
    paths: set[Names] = set()
    numbered: bool | None = None
    for sample in readable_samples(shards, ["goods"]):
        labels = sample.record["labels"]
        numbered = "category_ids" in labels if numbered is None else numbered
        if not numbered:
            paths.add(_path(labels, sample.name))
            continue
        upper, middle = _numbers(labels, sample.name)
        if upper_of.setdefault(middle, upper) != upper:
            raise ValueError(f"{sample.name}: middle category {middle} belongs to {upper} here and to {upper_of[middle]} elsewhere; it needs one")
    if numbered:
        return Categories(tuple(upper_of.get(middle, -1) for middle in range(max(upper_of) + 1)))
    names = tuple(sorted(paths))
    tops = sorted({path[0] for path in names})
    return Categories(tuple(tops.index(path[0]) for path in names), names)


def _path(labels: Mapping[str, Any], where: str) -> Names:
    path = labels.get("category")
    if not isinstance(path, list) or not path or not all(isinstance(name, str) for name in path):
        raise ValueError(
            f"{where}: its category is {path!r}; mqmc keeps a queue for each category and needs a list of names from coarse to fine of every good "
            "(labels.category in a catalog); give it one or leave it out of the corpus"
        )
    return tuple(path[:2])


def _numbers(labels: Mapping[str, Any], where: str) -> tuple[int, int]:
    """(upper, middle)"""
    numbers = labels.get("category_ids")
    if not isinstance(numbers, list) or len(numbers) < 2 or not all(isinstance(one, int) and one >= 0 for one in numbers[:2]):
        raise ValueError(
            f"{where}: its category_ids are {numbers!r}; wanted the numbers of its upper and middle category, from 0, as other goods have"
        )
    return numbers[0], numbers[1]
