"""Ranked lists held against ground truth: ids matched, everything that was left out counted, the metrics over what remains.

Ids are looked up by binary search in arrays, lists and searched ids come in blocks: a million queries are numbers, not Python objects.
Legend: Q queries, P pairs (query, relevant document), R different relevant documents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evaluate.ids import IdTable, id_hashes
from evaluate.judging.ground_truth import GroundTruth
from evaluate.judging.groups import Groups, group_queries
from evaluate.judging.metrics import Found, find
from evaluate.judging.per_query import PerQuery, per_query
from evaluate.ranked import Ranked


@dataclass(frozen=True)
class Judged:
    """Lists and ground truth, matched.

    found: where the relevant documents stand, a row for each query of the lists. searched int64 [Q]: how many of a query's relevant
    documents were searched. truth uint64 [Q]: sum of the hashes (`evaluate.ids.id_hashes`) of the relevant documents that count, modulo
    2^64; corpus: the same sum over all documents that were searched, in hexadecimal. queries_not_searched: queries of the ground truth
    that have no list. not_searched: UTF-8 ids (ascending) of relevant documents that were not searched, in relevant_not_in_docs pairs with
    a query; they stay in the denominators unless `judge` was asked otherwise. groups: queries by the category asked for, None where none was.
    """

    found: Found
    searched: np.ndarray
    truth: np.ndarray
    corpus: str
    queries_not_searched: int
    not_searched: np.ndarray
    relevant_not_in_docs: int
    groups: Groups | None


def judge(ranked: Ranked, truth: GroundTruth, by: str | None = None, searched_only: bool = False) -> Judged:
    """Match `truth` to `ranked` by id.

    Args:
        by: label by which queries are grouped (`evaluate/judging/groups.py`), e.g. "category" or "category:2".
        searched_only: leave relevant documents that were not searched out of the denominators, e.g. after a search with --only.

    Raises ValueError where no query of the lists is in the ground truth, or no relevant document was searched, with an id of each side:
    they are spelled differently, or of two splits or directions; and where the ground truth has no relevant document for any of the queries.
    """
    rows = truth.rows_of(ranked.query_ids)
    if not (rows >= 0).any():
        raise ValueError(
            f"{ranked.path}: none of its {ranked.queries} queries is in the ground truth; they are spelled {ranked.query_ids[0].decode()!r}, "
            f"those of the ground truth {truth.query_ids[0].decode()!r}; for the spelling of the Real20M release give --released_ids, else the "
            "ground truth of this split and direction"
        )
    counts = np.where(rows >= 0, truth.counts[rows], 0)
    if not counts.any():
        raise ValueError(
            f"{ranked.path}: {(rows >= 0).sum()} of its {ranked.queries} queries are in the ground truth, which lists no relevant document for "
            "any of them; give one that does (in TREC qrels a relevance above 0)"
        )
    # The pairs of the lists' queries, query by query, then numbered by the different documents among them.
    pairs = np.repeat(truth.starts[rows] - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())
    needed, wanted = np.unique(truth.documents[pairs], return_inverse=True)
    table = IdTable(truth.doc_ids[needed])
    searched, corpus = _searched(ranked, table, len(needed))
    if not searched.any():
        document = next(ranked.searched_ids())[0].decode()
        raise ValueError(
            f"{ranked.path}: none of the {len(needed)} relevant documents of its queries was searched; a document that was is spelled {document!r}, "
            f"a relevant one {truth.doc_ids[needed[0]].decode()!r}; for the spelling of the Real20M release give --released_ids, else the ground "
            "truth of this split and direction"
        )
    listed = table.places(ranked.doc_ids)
    row_of = np.full(len(needed), -1)
    row_of[listed[listed >= 0]] = np.flatnonzero(listed >= 0)
    owners = np.repeat(np.arange(ranked.queries), counts)
    reached = np.bincount(owners[searched[wanted]], minlength=ranked.queries)
    missing = int((counts - reached).sum())
    if searched_only:
        owners, wanted, counts = owners[searched[wanted]], wanted[searched[wanted]], reached
    found = find(ranked.blocks(), counts, row_of[wanted], len(ranked.doc_ids), ranked.depth)
    absent = int(np.delete(truth.counts, rows[rows >= 0]).astype(bool).sum())
    groups = None if by is None else group_queries(ranked, by, table, owners, wanted)
    hashes = _sums(id_hashes(truth.doc_ids[needed])[wanted], counts)
    return Judged(found, reached, hashes, corpus, absent, truth.doc_ids[needed[~searched]], missing, groups)


def _searched(ranked: Ranked, table: IdTable, number: int) -> tuple[np.ndarray, str]:
    """(bool [R]: which documents of the `table` were searched, sum of the hashes of all that were)."""
    searched, total = np.zeros(number, bool), 0
    for ids in ranked.searched_ids():
        places = table.places(ids)
        searched[places[places >= 0]] = True
        total += int(id_hashes(ids).sum())
    return searched, f"{total % 2**64:016x}"


def _sums(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """uint64 [Q]: the sum of each query's `values`, `counts` [Q] of them query by query, modulo 2^64."""
    ends = np.cumsum(counts)
    so_far = np.concatenate([np.zeros(1, np.uint64), np.cumsum(values)])
    return so_far[ends] - so_far[ends - counts]


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
