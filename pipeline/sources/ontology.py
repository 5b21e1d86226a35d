"""Names of categories from an ontology in tree form, `{"name": ..., "children": [...]}`, for a corpus that only numbers its categories.

A tree does not say how categories are numbered. Numbers in the order in which it is walked, level by level, are taken where everything
fits: as many categories, each below the one that the corpus puts it below. Else the order among the children of one category alone is
taken for the tree's (a level numbered by name, say): a category whose children are all seen then still tells which is which. The rest
go by their numbers. An order among children that is not the tree's cannot be seen, so who uses such names is told how they were found.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LEVELS = 3

_NAMED = ("ontology.json", "flare-2.json")

Level = Sequence[tuple[str, int]]
"""Categories as (name, place of the category above in the level above), in the order in which the tree is walked."""


@dataclass(frozen=True)
class Ontology:
    """The categories of each level, from coarse to fine. Above the first level stands one, the tree's root."""

    file: Path
    levels: tuple[Level, ...]

    def names(self, seen: Collection[tuple[int, ...]], widths: Sequence[int]) -> tuple[list[dict[int, str]], list[str]]:
        """Number -> name at each level, and for each level what a person should know of how it got them, "" where it was walked.

        Args:
            seen: the paths of numbers that a corpus has, from coarse to fine.
            widths: how many categories it has at each level.
        """
        names: list[dict[int, str]] = []
        remarks = []
        places = {0: 0}
        for level, (tree, width) in enumerate(zip(self.levels, widths)):
            links = {(path[level - 1] if level else 0, path[level]) for path in seen}
            numbers = {number for _, number in links}
            remark = ""
            if len(tree) != width:
                remark, places = f"has {width} categories, the ontology has {len(tree)}: they go by their numbers", {}
            elif len(numbers) < len(links):
                remark, places = "has categories that lie below several others: they go by their numbers", {}
            elif all(tree[number][1] == places.get(above) for above, number in links):
                places = {place: place for place in range(width)}
            else:
                places = _placed_by_siblings(tree, links, places)
                unknown = len(numbers - places.keys())
                remark = "is not numbered as the ontology is walked: it has names by the order among siblings"
                remark += f", and {unknown} categories that this does not tell go by their numbers" if unknown else ""
            names.append({number: tree[place][0] for number, place in places.items()})
            remarks.append(remark)
        return names, remarks


def find_ontology(root: Path) -> Path | None:
    """The ontology beside a corpus' files: ontology.json, flare-2.json, or the one other .json file in tree form; None where there is none.

    Raises ValueError where several others could be it.
    """
    for name in _NAMED:
        if (root / name).is_file():
            return root / name
    trees = [file for file in sorted(root.glob("*.json")) if file.is_file() and _is_tree(_read(file))]
    if len(trees) > 1:
        raise ValueError(f"{root}: {', '.join(file.name for file in trees)} could each be the ontology; name it {_NAMED[0]}")
    return trees[0] if trees else None


def read_ontology(file: Path) -> Ontology:
    """The ontology in `file`. Raises ValueError where it is not in tree form."""
    tree = _read(file)
    if not _is_tree(tree):
        raise ValueError(f'{file}: not an ontology in tree form, {{"name": ..., "children": [...]}}')
    above: list[dict[str, Any]] = [tree]
    levels = []
    for level in range(1, LEVELS + 1):
        found = [(child, place) for place, node in enumerate(above) for child in node.get("children", [])]
        for child, place in found:
            if not _is_node(child):
                raise ValueError(f"{file}: a category of level {level}, below {above[place]['name']!r}, has no name, or children that are no list")
        levels.append(tuple((child["name"], place) for child, place in found))
        above = [child for child, _ in found]
    return Ontology(file, tuple(levels))


def _placed_by_siblings(tree: Level, links: Collection[tuple[int, int]], above: Mapping[int, int]) -> dict[int, int]:
    """Number -> place in the level `tree`, for the children of those categories whose children are all seen.

    Args:
        links: (number above, number).
        above: number -> place in the level above.
    """
    found: dict[int, int] = {}
    for over, place in above.items():
        numbers = sorted(number for upper, number in links if upper == over)
        children = [child for child, (_, upper) in enumerate(tree) if upper == place]
        if len(numbers) == len(children):
            found.update(zip(numbers, children))
    return found


def _read(file: Path) -> Any:
    """The JSON of the file, None where it is none."""
    try:
        return json.loads(file.read_bytes())
    except (ValueError, RecursionError):
        return None


def _is_node(node: Any) -> bool:
    return isinstance(node, dict) and isinstance(node.get("name"), str) and isinstance(node.get("children", []), list)


def _is_tree(node: Any) -> bool:
    return _is_node(node) and bool(node.get("children"))
