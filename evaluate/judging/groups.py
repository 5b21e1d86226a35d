"""Queries by category: each metric over the queries of one category at a time.

A query belongs to the category of its own label where queries carry it. Where no query does (clips without a category, typed words), it
belongs, whole, to the category of each of its relevant documents: "of the queries that look for fruit, this share found it". The label is
`category`, or `category:2` for two levels of a category's path (the default is its first).

Legend: Q queries, G groups, B pairs (query, group it belongs to).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from evaluate.ids import IdTable
from evaluate.judging.per_query import PerQuery
from evaluate.labels import level_name
from evaluate.ranked import Ranked


@dataclass(frozen=True)
class Groups:
    """Who belongs where.

    by: the label. of: whose label it is. names: [G]. query, group: int64 [B], ordered by group, then query.
    """

    by: str
    of: Literal["query", "relevant documents"]
    names: tuple[str, ...]
    query: np.ndarray
    group: np.ndarray

    def of_values(self, values: PerQuery) -> dict[str, PerQuery]:
        """The metrics of each group's queries by its name, the largest group first (then by name); groups without one are left out."""
        members = np.full(int(max(values.rows.max(), self.query.max(initial=0))) + 1, -1)
        members[values.rows] = np.arange(len(values.rows))
        members = members[self.query]
        starts = np.searchsorted(self.group, np.arange(len(self.names) + 1))
        chosen: dict[str, PerQuery] = {}
        for name, (begin, end) in zip(self.names, pairwise(starts)):
            own = members[begin:end]
            if (own >= 0).any():
                chosen[name] = values.at(own[own >= 0])
        return dict(sorted(chosen.items(), key=lambda item: (-len(item[1].rows), item[0])))


def group_queries(ranked: Ranked, by: str, documents: IdTable, owners: np.ndarray, relevant: np.ndarray) -> Groups:
    """The groups of `ranked`'s queries by the label `by`.

    Args:
        by: name of a label, with `:` and a number of levels behind it where not one level is meant.
        documents: ids of the relevant documents. owners, relevant: int64 [P], pairs (query, place in `documents`).

    Raises ValueError where the lists came without that label.
    """
    key, _, levels = by.partition(":")
    if levels and (not levels.isdigit() or levels == "0"):
        raise ValueError(f"--by {by}: give a label, or a label and a number of levels, e.g. category:2")
    if key not in ranked.label_keys():
        held = ", ".join(ranked.label_keys()) or "none"
        raise ValueError(f"{ranked.path}: the label {key} was not kept (kept: {held}); search dumps that have it with --labels {key}")
    named = [level_name(text, int(levels or 1)) for text in ranked.label_values(key)]
    names = sorted({name for name in named if name is not None})
    places = {name: place for place, name in enumerate(names)}
    # A last entry, which stands for -1.
    group_of = np.array([places.get(name, -1) if name is not None else -1 for name in named] + [-1])
    own = group_of[ranked.query_label(key)]
    of: Literal["query", "relevant documents"] = "query"
    query, group = np.arange(ranked.queries), own
    if not (own >= 0).any():
        of = "relevant documents"
        query, group = owners, _labels_of(ranked, key, documents, group_of)[relevant]
    pairs = np.unique((group * ranked.queries + query)[group >= 0])
    return Groups(by, of, tuple(names), pairs % ranked.queries, pairs // ranked.queries)


def _labels_of(ranked: Ranked, key: str, documents: IdTable, group_of: np.ndarray) -> np.ndarray:
    """int64: the group of each of the `documents`, -1 where it has none or was not searched."""
    groups = np.full(len(documents), -1)
    for ids, codes in zip(ranked.searched_ids(), ranked.searched_label(key)):
        places = documents.places(ids)
        groups[places[places >= 0]] = group_of[codes[places >= 0]]
    return groups
