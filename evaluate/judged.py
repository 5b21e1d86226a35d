"""Ranked lists held against ground truth: ids matched, everything that was left out counted, the metrics over what remains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evaluate.ground_truth import GroundTruth
from evaluate.ids import decode_ids
from evaluate.metrics import Found, all_metrics, find
from evaluate.ranked import Ranked


@dataclass(frozen=True)
class Judged:
    """Lists and ground truth, matched.

    found: where the relevant documents stand, a row for each query of the lists. searched int64 [Q]: how many of a query's relevant
    documents were searched. queries_not_searched: queries of the ground truth that have no list. relevant_not_in_docs: pairs (query,
    relevant document) whose document was not searched; they stay in the denominators.
    """

    found: Found
    searched: np.ndarray
    queries_not_searched: int
    not_searched: frozenset[str]

    @property
    def relevant_not_in_docs(self) -> int:
        """Pairs (query, relevant document) whose document was not searched."""
        return int(self.found.relevant.sum() - self.searched.sum())


def judge(ranked: Ranked, truth: GroundTruth) -> Judged:
    """Match `truth` to `ranked` by id.

    Raises ValueError where no query of the lists has a relevant document, with an id of each side: they are spelled differently.
    """
    queries = decode_ids(ranked.query_ids)
    wanted = [truth.relevant.get(query, ()) for query in queries]
    if not any(wanted):
        theirs = next(iter(truth.relevant), "")
        raise ValueError(
            f"{ranked.path}: none of its {len(queries)} queries has a relevant document; its queries are spelled {queries[0]!r}, those of "
            f"the ground truth {theirs!r}; for the spelling of the Real20M release give --released_ids"
        )
    numbers = {text: number for number, text in enumerate({text.encode(): None for ids in wanted for text in ids})}
    rows = np.full(len(numbers), -1, np.int64)
    for row, text in enumerate(ranked.doc_ids.tolist()):
        if text in numbers:
            rows[numbers[text]] = row
    searched = np.zeros(len(numbers), bool)
    for ids in ranked.searched_ids():
        searched[[numbers[text] for text in ids.tolist() if text in numbers]] = True
    chosen = [np.array([numbers[text.encode()] for text in ids], np.int64) for ids in wanted]
    reached = np.array([searched[own].sum() for own in chosen], np.int64)
    found = find(ranked.ranks(), [rows[own] for own in chosen])
    known = set(queries)
    absent = sum(1 for query, ids in truth.relevant.items() if ids and query not in known)
    return Judged(found, reached, absent, frozenset(text.decode() for text, number in numbers.items() if not searched[number]))


def summary(ranked: Ranked, judged: Judged, split: str = "", cutoffs: Sequence[int] | None = None) -> dict[str, Any]:
    """What metrics.json holds: counts, metrics, and how the lists came about.

    queries counts all queries with a list; queries_without_relevant of them are left out of every mean, queries_evaluated remain.
    """
    attributes, without = ranked.attributes, int((judged.found.relevant == 0).sum())
    return {
        "task": attributes.task,
        "split": split,
        "queries": ranked.queries,
        "queries_without_relevant": without,
        "queries_evaluated": ranked.queries - without,
        "queries_not_searched": judged.queries_not_searched,
        "queries_failed": attributes.queries_failed,
        "docs": attributes.docs,
        "docs_failed": attributes.docs_failed,
        "relevant_not_in_docs": judged.relevant_not_in_docs,
        **all_metrics(judged.found, attributes.docs, cutoffs),
        "top_k": ranked.depth,
        "search": f"exact {attributes.metric}",
        "checkpoint": attributes.checkpoint,
    }
