"""Ranked lists held against ground truth: ids matched, everything that was left out counted, the metrics over what remains.

Ids are looked up by binary search in arrays, lists and searched ids come in blocks: a million queries are numbers, not Python objects.
Legend: Q queries, P pairs (query, relevant document), R different relevant documents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evaluate.ids import IdTable
from evaluate.judging.ground_truth import GroundTruth
from evaluate.judging.groups import Groups, group_queries
from evaluate.judging.metrics import Found, find
from evaluate.judging.per_query import PerQuery, per_query
from evaluate.ranked import Ranked


@dataclass(frozen=True)
class Judged:
    """Lists and ground truth, matched.

    found: where the relevant documents stand, a row for each query of the lists. searched int64 [Q]: how many of a query's relevant
    documents were searched. queries_not_searched: queries of the ground truth that have no list. not_searched: UTF-8 ids (ascending) of
    relevant documents that were not searched; they stay in the denominators unless `judge` was asked otherwise. groups: queries by the
    category asked for, None where none was.
    """

    found: Found
    searched: np.ndarray
    queries_not_searched: int
    not_searched: np.ndarray
    relevant_not_in_docs: int
    groups: Groups | None


def judge(ranked: Ranked, truth: GroundTruth, by: str | None = None, searched_only: bool = False) -> Judged:
    """Match `truth` to `ranked` by id.

    Args:
        by: label by which queries are grouped (`evaluate/judging/groups.py`), e.g. "category" or "category:2".
        searched_only: leave relevant documents that were not searched out of the denominators, e.g. after a search with --only.

    Raises ValueError where no query of the lists has a relevant document, with an id of each side: they are spelled differently.
    """
    rows = truth.rows_of(ranked.query_ids)
    counts = np.where(rows >= 0, truth.counts[rows], 0)
    if not counts.any():
        raise ValueError(
            f"{ranked.path}: none of its {ranked.queries} queries has a relevant document; its queries are spelled "
            f"{ranked.query_ids[0].decode()!r}, those of the ground truth {next(iter(truth.relevant))!r}; for the spelling of the Real20M "
            "release give --released_ids"
        )
    # The pairs of the lists' queries, query by query, then numbered by the different documents among them.
    pairs = np.repeat(truth.starts[rows] - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())
    needed, wanted = np.unique(truth.documents[pairs], return_inverse=True)
    table = IdTable(truth.doc_ids[needed])
    searched = _searched(ranked, table, len(needed))
    listed = table.places(ranked.doc_ids)
    row_of = np.full(len(needed), -1)
    row_of[listed[listed >= 0]] = np.flatnonzero(listed >= 0)
    owners = np.repeat(np.arange(ranked.queries), counts)
    reached = np.bincount(owners[searched[wanted]], minlength=ranked.queries)
    missing = int((counts - reached).sum())
    if searched_only:
        owners, wanted, counts = owners[searched[wanted]], wanted[searched[wanted]], reached
        if not counts.any():
            raise ValueError(f"{ranked.path}: none of the relevant documents was searched; leave --searched_only out to see them counted as missed")
    found = find(ranked.blocks(), counts, row_of[wanted], len(ranked.doc_ids), ranked.depth)
    absent = int(np.delete(truth.counts, rows[rows >= 0]).astype(bool).sum())
    groups = None if by is None else group_queries(ranked, by, table, owners, wanted)
    return Judged(found, reached, absent, truth.doc_ids[needed[~searched]], missing, groups)


def _searched(ranked: Ranked, table: IdTable, number: int) -> np.ndarray:
    """bool [R]: which documents of the `table` were searched."""
    searched = np.zeros(number, bool)
    for ids in ranked.searched_ids():
        places = table.places(ids)
        searched[places[places >= 0]] = True
    return searched


def summary(ranked: Ranked, judged: Judged, split: str = "", cutoffs: Sequence[int] | None = None, values: PerQuery | None = None) -> dict[str, Any]:
    """What metrics.json holds at the least: counts, metrics, and how the lists came about.

    queries counts all queries with a list; queries_without_relevant of them are left out of every mean, queries_evaluated remain.

    Args:
        cutoffs: k of recall@k (`evaluate.judging.metrics.check_cutoffs`).
        values: the metrics of every query, where the caller has them already.
    """
    attributes, without = ranked.attributes, int((judged.found.relevant == 0).sum())
    values = values or per_query(judged.found, ranked.candidates, cutoffs)
    filters = {"only": attributes.only, "queries_only": attributes.queries_only, "dedup": attributes.dedup}
    filters |= {"candidates": attributes.candidates}
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
        **values.metrics(),
        "top_k": ranked.depth,
        **attributes.searched,
        **{name: value for name, value in filters.items() if value},
        "checkpoint": attributes.checkpoint,
    }
