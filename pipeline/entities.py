"""The names at each level of the goods' category paths, e.g. Kitchen > Cups > Mug."""

from __future__ import annotations

from launch.distributed import broadcast_object
from launch.logs import is_main
from pipeline.shards import ShardSet
from pipeline.shards.readable import readable_samples

Entities = list[list[str]]
"""The names of every level, from coarse to fine."""


def entities_of(shards: ShardSet, levels: int, most_goods: int) -> Entities:
    """The different names at the first `levels` levels of the goods' `labels["category"]`, each level sorted.

    A name that occurs below several others is one entity. Goods without a category, or with a shorter path, give what they have. Rank 0
    reads; all ranks call this together.

    Args:
        most_goods: read no more goods than so many, the first of the split, whose order is random; 0 = all.

    Raises:
        ValueError: a category is no list of names, or a level has no name.
    """
    return broadcast_object(_read(shards, levels, most_goods) if is_main() else None)  # type: ignore[return-value]


def _read(shards: ShardSet, levels: int, most_goods: int) -> Entities:
    found: list[set[str]] = [set() for _ in range(levels)]
    read = 0
    for sample in readable_samples(shards, ["goods"]):
        if most_goods and read == most_goods:
            break
        path = sample.record["labels"].get("category") or []
        if not isinstance(path, list) or not all(isinstance(name, str) for name in path):
            raise ValueError(f"{sample.name}: its category is {path!r}; entities need a list of names from coarse to fine")
        for names, name in zip(found, path):
            names.add(name)
        read += 1
    empty = [level for level, names in enumerate(found, start=1) if not names]
    if empty:
        raise ValueError(
            f"{shards.folder}: of {read:,} goods none has a category at level {empty[0]} of {levels}; give one word a level that there is with "
            "--system.level_words (and as many level weights), or leave --system.prompter out"
        )
    return [sorted(names) for names in found]
