"""Queries picked for a person to look at, with the heads of their lists and their ground truth: what the report's pages show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evaluate.ids import IdTable, decode_ids, encode_ids
from evaluate.judging.ground_truth import GroundTruth
from evaluate.judging.judged import Judged
from evaluate.judging.metrics import average_precisions, first_ranks
from evaluate.pages.scores import BestScores
from evaluate.ranked import Ranked
from launch.seeds import generator

RESULTS_SHOWN = 10
RELEVANT_SHOWN = 8


@dataclass(frozen=True)
class Result:
    """A document in the head of a list; rank from 1. `stands_for` are relevant documents that were folded into it as near-identical."""

    id: str
    rank: int
    score: float
    relevant: bool
    stands_for: tuple[str, ...]

    @property
    def hit(self) -> bool:
        """True where it is relevant, or stands for a document that is."""
        return self.relevant or bool(self.stands_for)


@dataclass(frozen=True)
class Relevant:
    """A relevant document and its rank in the list (or that of `stand_in`, the document it was folded into), None where it is not there;
    `searched` is False where it was not searched at all."""

    id: str
    rank: int | None
    searched: bool
    stand_in: str

    @property
    def hit(self) -> bool:
        """True where it is among the results shown."""
        return self.rank is not None and self.rank <= RESULTS_SHOWN


@dataclass(frozen=True)
class Example:
    """A query, the first documents of its list, and its relevant documents (those found first, best rank first; `more` are not shown)."""

    id: str
    results: tuple[Result, ...]
    relevant: tuple[Relevant, ...]
    more: int

    @property
    def first_rank(self) -> int | None:
        """Rank of its first relevant document, None where the list holds none."""
        return self.relevant[0].rank

    @property
    def documents(self) -> list[str]:
        """Ids of the documents that are shown, some twice."""
        return [result.id for result in self.results] + [relevant.id for relevant in self.relevant]

    @property
    def is_hit(self) -> bool:
        """True where a relevant document is among the results shown."""
        return self.relevant[0].hit


@dataclass(frozen=True)
class Chosen:
    """Queries shown under one heading: rows of the lists, and how they were chosen."""

    title: str
    about: str
    rows: tuple[int, ...]


def choose(judged: Judged, best: BestScores, number: int, worst: int | None, seed: int) -> list[Chosen]:
    """The queries that a report shows: the worst ones, then `number` others drawn by `seed`, half of them hits and half misses as far as there
    are enough of each. Headings without a query are left out.

    Args:
        worst: how many at most (never more than a quarter of all queries); None: half of `number`.
    """
    lowest = worst_rows(judged, best, number // 2 if worst is None else worst)
    drawn = pick(judged, number, seed, without=lowest)
    first = first_ranks(judged.found)
    hits = [row for row in drawn if first[row] <= RESULTS_SHOWN]
    by_chance = f"drawn at random (seed {seed}); not a share of all queries"
    about_worst = "those of least average precision; among equals, those whose best irrelevant document scores highest"
    groups = (
        Chosen("Worst", about_worst, tuple(lowest)),
        Chosen("Found among the first ten", by_chance, tuple(hits)),
        Chosen("Not among the first ten", by_chance, tuple(drawn[len(hits) :])),
    )
    return [group for group in groups if group.rows]


def worst_rows(judged: Judged, best: BestScores, number: int) -> list[int]:
    """Rows of the `number` queries (at most a quarter of those that have relevant documents) of least average precision, the worst first; among
    equals, those whose best irrelevant document scores highest, then the earlier ones. None that found everything at the top."""
    if number < 0:
        raise ValueError(f"{number} of the worst queries to show: 0 or more")
    precision = average_precisions(judged.found)
    rows = np.flatnonzero(judged.found.evaluated & (precision < 1))
    order = np.lexsort((rows, -np.nan_to_num(best.irrelevant[rows], nan=-np.inf), precision[rows]))
    return rows[order[: min(number, int(judged.found.evaluated.sum()) // 4)]].tolist()


def pick(judged: Judged, number: int, seed: int, without: Sequence[int] = ()) -> list[int]:
    """Rows of up to `number` queries that have relevant documents, drawn by `seed`: half of them hits (a relevant document among the first
    ten) and half misses, as far as there are enough of each; hits first. Rows in `without` are left out."""
    if number < 0:
        raise ValueError(f"{number} queries to show: 0 or more")
    first = first_ranks(judged.found)
    eligible = judged.found.relevant > 0
    eligible[list(without)] = False
    draw = generator("examples", seed)
    hits = draw.permutation(np.flatnonzero(eligible & (first <= RESULTS_SHOWN)))
    misses = draw.permutation(np.flatnonzero(eligible & (first > RESULTS_SHOWN)))
    of_misses = min(len(misses), max(number // 2, number - len(hits)))
    return [*hits[: number - of_misses].tolist(), *misses[:of_misses].tolist()]


def examples(ranked: Ranked, truth: GroundTruth, judged: Judged, rows: Sequence[int]) -> list[Example]:
    """The queries `rows` of the lists as they are shown."""
    ranks, scores = ranked.lists(rows, ranked.depth)
    not_searched = IdTable(judged.not_searched)
    made = []
    for row, own_ranks, own_scores in zip(rows, ranks, scores):
        query = ranked.query_ids[row].decode()
        listed = decode_ids(ranked.doc_ids[own_ranks[own_ranks >= 0]])
        wanted = truth.relevant[query]
        among = set(wanted)
        folded = ranked.folded(row)
        stand_ins = {item: listed[place] for item, place in zip(decode_ids(ranked.doc_ids[folded.doc]), folded.place.tolist()) if item in among}
        places = {document: place for place, document in enumerate(listed, 1)}
        places |= {item: places[other] for item, other in stand_ins.items()}
        head = [
            Result(document, place, float(score), document in among, tuple(item for item, other in stand_ins.items() if other == document))
            for place, (document, score) in enumerate(zip(listed[:RESULTS_SHOWN], own_scores), 1)
        ]
        missing = not_searched.places(encode_ids(wanted)) >= 0
        relevant = [Relevant(item, places.get(item), not lost, stand_ins.get(item, "")) for item, lost in zip(wanted, missing.tolist())]
        relevant.sort(key=lambda document: document.rank or len(places) + 1)
        made.append(Example(query, tuple(head), tuple(relevant[:RELEVANT_SHOWN]), max(0, len(relevant) - RELEVANT_SHOWN)))
    return made
