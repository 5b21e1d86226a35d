from __future__ import annotations

import importlib.util
import itertools
import json
import math
import statistics

import numpy as np
import pytest
import pytrec_eval

from evaluate.engines.faiss_flat import search_arrays
from evaluate.judging import metrics
from evaluate.judging.metrics import Found, chance, find
from evaluate.judging.per_query import per_query
from evaluate.ranked import NOTHING_FOLDED, Folded, ListBlock

# Three queries over ten documents, lists of five. Worked by hand below.
RANKS = np.array([[4, 2, 7, 1, 0], [3, 8, 9, 5, 6], [0, 1, 2, 3, 4]])
RELEVANT = [np.array([2, 0, 9]), np.array([1]), np.array([], np.int64)]


def found_in(ranks, relevant, folded=NOTHING_FOLDED, rows_per_block=70):
    """Found of lists [Q, K] and each query's relevant documents, the lists in blocks as a file gives them."""

    def blocks():
        for first in range(0, len(ranks), rows_per_block):
            own = (folded.query >= first) & (folded.query < first + rows_per_block)
            yield ListBlock(first, ranks[first : first + rows_per_block], Folded(folded.query[own] - first, folded.doc[own], folded.place[own]))

    documents = np.concatenate([np.zeros(0, np.int64), *relevant])
    numbers = 1 + max(int(ranks.max()), int(documents.max(initial=-1)), int(folded.doc.max(initial=-1)))
    return find(blocks(), np.array([len(own) for own in relevant], np.int64), documents, numbers, ranks.shape[1])


def all_metrics(found, docs, cutoffs=None):
    return per_query(found, docs, cutoffs).metrics()


def slow_metrics(ranks, relevant, docs, cutoffs, folded=()):
    """The slow obvious twin of per_query: lists, sets and loops, a query at a time. folded: (query, document, place from 0)."""
    rows: dict[str, list[float]] = {}
    first_ranks = []
    for query, (own, wanted) in enumerate(zip(ranks.tolist(), [set(ids.tolist()) for ids in relevant])):
        if not wanted:
            continue
        found = {document: place for place, document in enumerate(own, 1) if document in wanted and document >= 0}
        found.update({document: place + 1 for other, document, place in folded if other == query and document in wanted})
        places = sorted(found.values())
        distinct = sorted(set(places))
        first_ranks.append(places[0] if places else len(own) + 1)
        values = {f"recall@{k}": sum(place <= k for place in places) / len(wanted) for k in cutoffs}
        values.update({f"hit@{k}": float(any(place <= k for place in places)) for k in (1, 5, 10)})
        values["mrr"] = 1 / places[0] if places else 0.0
        values["map"] = sum(sum(other <= place for other in distinct) / place for place in places) / len(wanted)
        ideal_places = len(wanted) - (len(places) - len(distinct))
        for k in (5, 10):
            ideal = sum(1 / math.log2(1 + place) for place in range(1, min(k, ideal_places) + 1))
            values[f"ndcg@{k}"] = sum(1 / math.log2(1 + place) for place in distinct if place <= k) / ideal
        for name, value in values.items():
            rows.setdefault(name, []).append(value)
    assert docs >= max(cutoffs)
    return {**{name: statistics.fmean(values) for name, values in rows.items()}, "median_rank": statistics.median(first_ranks)}


def random_lists(seed, queries=200, docs=300, depth=100):
    draw = np.random.default_rng(seed)
    ranks = np.array([draw.permutation(docs)[:depth] for _ in range(queries)])
    relevant = [draw.choice(docs, draw.integers(0, 12), replace=False) for _ in range(queries)]
    return ranks, relevant


def test_numbers_worked_by_hand():
    found = found_in(RANKS, RELEVANT)

    assert found.relevant.tolist() == [3, 1, 0]
    assert list(zip(found.query.tolist(), found.rank.tolist())) == [(0, 2), (0, 5)]
    values = per_query(found, 5, [1, 2, 5])  # as if five documents had been searched: lists of five are whole
    assert values.rows.tolist() == [0, 1] and values.first.tolist() == [2, 6]
    assert values.column("recall@1").tolist() == [0, 0]
    assert values.column("recall@2").tolist() == [1 / 3, 0]
    assert values.column("recall@5").tolist() == [2 / 3, 0]
    assert values.column("hit@1").tolist() == [0, 0] and values.column("hit@5").tolist() == [1, 0]
    assert values.column("mrr").tolist() == [1 / 2, 0]
    assert values.column("map") == pytest.approx([(1 / 2 + 2 / 5) / 3, 0])
    ideal = 1 + 1 / math.log2(3) + 1 / math.log2(4)
    assert values.column("ndcg@10") == pytest.approx([(1 / math.log2(3) + 1 / math.log2(6)) / ideal, 0])
    means = values.metrics()
    assert means["recall@5"] == pytest.approx(1 / 3) and means["mrr"] == 0.25
    assert means["median_rank"] == 4 and means["median_rank_is_lower_bound"] is True


def test_documents_folded_into_one_place_worked_by_hand():
    # The list is 5, 1, 8; 7 was folded into 5, and 2 and 3 into 8. Relevant: 5, 7, 2, 4.
    folded = Folded(np.array([0, 0, 0]), np.array([7, 2, 3]), np.array([0, 2, 2]))

    found = found_in(np.array([[5, 1, 8]]), [np.array([5, 7, 2, 4])], folded)

    assert found.rank.tolist() == [1, 1, 3]
    values = all_metrics(found, 3, [1, 3])
    assert values["recall@1"] == 2 / 4 and values["recall@3"] == 3 / 4
    assert values["map"] == pytest.approx((1 / 1 + 1 / 1 + 2 / 3) / 4)
    # 5 and 7 are one place, so the best list has three relevant ones.
    assert values["ndcg@10"] == pytest.approx((1 + 1 / math.log2(4)) / (1 + 1 / math.log2(3) + 1 / math.log2(4)))


def test_the_median_is_no_bound_where_the_middle_query_found_something():
    values = all_metrics(found_in(np.array([[5, 1], [1, 5], [0, 2]]), [np.array([5]), np.array([5]), np.array([9])]), 2, [1])

    assert values["median_rank"] == 2 and values["median_rank_is_lower_bound"] is False


@pytest.mark.parametrize("seed", range(4))
def test_every_metric_agrees_with_its_slow_twin(seed, monkeypatch):
    monkeypatch.setattr(metrics, "FLAG_BYTES", 1 << (9 + 3 * seed))
    ranks, relevant = random_lists(seed)
    ranks[3::7, 60:] = -1
    relevant[5] = np.array([-1, -1, 4])
    folded = []
    for query in range(0, 200, 3):
        out = np.setdiff1d(np.arange(300), ranks[query])[:40]
        folded += [(query, document, place) for document, place in zip(out.tolist(), np.random.default_rng(query).integers(0, 60, 40).tolist())]
    cutoffs = [1, 5, 10, 50, 100]

    fast = all_metrics(found_in(ranks, relevant, Folded(*np.array(folded).T)), 300, cutoffs)

    spelled = [np.array([-2 - n if row < 0 else row for n, row in enumerate(own)]) for own in relevant]
    slow = slow_metrics(ranks, spelled, 300, cutoffs, folded)
    assert slow["map"] != slow_metrics(ranks, spelled, 300, cutoffs)["map"]
    assert fast.keys() - slow.keys() == {"median_rank_is_lower_bound"}
    assert {name: fast[name] for name in slow} == pytest.approx(slow)


def test_curves_pass_through_the_metrics():
    found = found_in(*random_lists(9))

    recall, hit = metrics.recall_curve(found), metrics.hit_curve(found)

    assert len(recall) == len(hit) == 100
    for k in (1, 2, 17, 100):
        assert recall[k - 1] == pytest.approx(metrics.recalls(found, k)[found.evaluated].mean())
        assert hit[k - 1] == pytest.approx(metrics.hits(found, k)[found.evaluated].mean())


@pytest.mark.parametrize("score_values", [1000, 7])
def test_pytrec_eval_agrees_on_every_metric_also_with_ties(score_values):
    # trec_eval orders by score, then by id, both descending: with seven different scores nearly every result is tied.
    draw = np.random.default_rng(score_values)
    _, relevant = random_lists(3)
    scores = draw.integers(0, score_values, (200, 300)) / 1024
    ids = [f"d{document:03d}" for document in range(300)]
    ranks = np.lexsort((np.broadcast_to(-np.arange(300), scores.shape), -scores), axis=1)[:, :100]
    qrels = {f"q{row}": {ids[document]: 1 for document in own} for row, own in enumerate(relevant) if len(own)}
    run = {f"q{row}": {ids[document]: float(scores[row, document]) for document in own} for row, own in enumerate(ranks)}

    theirs = pytrec_eval.RelevanceEvaluator(qrels, {"recall", "success", "recip_rank", "map", "ndcg_cut"}).evaluate(run)

    ours = per_query(found_in(ranks, relevant), 300, [5, 10, 20, 100])
    pairs = {f"recall@{k}": f"recall_{k}" for k in (5, 10, 20, 100)} | {f"hit@{k}": f"success_{k}" for k in (1, 5, 10)}
    pairs |= {"mrr": "recip_rank", "map": "map", "ndcg@5": "ndcg_cut_5", "ndcg@10": "ndcg_cut_10"}
    assert set(pairs) == set(ours.names)
    for name, other in pairs.items():
        assert ours.column(name) == pytest.approx([theirs[f"q{row}"][other] for row in ours.rows]), name
    assert ours.metrics()["median_rank"] == statistics.median(1 / values["recip_rank"] if values["recip_rank"] else 101 for values in theirs.values())


def test_recall_is_that_of_the_reference_program(test_data):
    folder = test_data / "parity"
    specification = importlib.util.spec_from_file_location("fill", folder / "fill.py")
    fill = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(fill)
    reference = json.loads((folder / "recall.json").read_text())
    docs, queries = fill.normal("recall.docs", (5000, 64)), fill.normal("recall.queries", (300, 64))
    docs, queries = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (docs, queries))

    _, rows = search_arrays(queries, docs, 1000)
    values = all_metrics(found_in(rows, [np.array(own) for own in reference["relevant"]]), 5000)

    assert rows[:, :10].tolist() == reference["top10"]
    assert {name: values[name] for name in reference["recall"]} == pytest.approx(reference["recall"], rel=1e-9)


def test_default_cutoffs_are_those_that_the_documents_reach():
    found = found_in(np.arange(81).reshape(1, -1), [np.array([7])])

    values = all_metrics(found, 81)

    assert [name for name in values if name.startswith("recall@")] == ["recall@1", "recall@5", "recall@10", "recall@20", "recall@50"]
    assert values["hit@10"] == 1 and values["median_rank"] == 8


def test_fewer_documents_than_ten_still_have_all_hits():
    values = all_metrics(found_in(np.array([[1, 0, 2]]), [np.array([2])]), 3)

    assert values["hit@5"] == values["hit@10"] == 1 and values["hit@1"] == 0
    assert [name for name in values if name.startswith("recall@")] == ["recall@1"]


def test_lists_that_are_too_short_are_refused_with_the_remedy():
    found = found_in(np.arange(500).reshape(1, -1), [np.array([7])])

    with pytest.raises(ValueError) as caught:
        all_metrics(found, 2000)

    assert str(caught.value) == ("recall@1000 needs 1000 results a query, ranked.h5 has 500; search with --top_k 1000 or leave that cutoff out")
    assert "recall@500" in all_metrics(found, 2000, [500])
    with pytest.raises(ValueError, match="recall@600 needs 600 documents, 500 were searched"):
        all_metrics(found, 500, [600])
    with pytest.raises(ValueError, match=r"hit@10 and ndcg@10 need 10 results a query, ranked.h5 has 5"):
        all_metrics(found_in(np.arange(5).reshape(1, -1), [np.array([7])]), 100, [5])
    with pytest.raises(ValueError, match="recall@0: a cutoff is at least 1"):
        all_metrics(found, 500, [0])


def test_no_query_with_a_relevant_document_is_an_error_and_not_a_zero():
    with pytest.raises(ValueError, match="none of 2 queries has a relevant document"):
        per_query(Found(np.array([0, 0]), np.array([], int), np.array([], int), 10), 10)


def test_chance_is_the_mean_over_every_order_of_the_documents():
    relevant = [{0}, {1, 2, 3}]
    orders = list(itertools.permutations(range(5)))

    values = chance(np.array([1, 3, 0]), 5, [1, 2, 4])

    for k in (1, 2, 4):
        recalls = [len(wanted & set(order[:k])) / len(wanted) for order in orders for wanted in relevant]
        hits = [bool(wanted & set(order[:k])) for order in orders for wanted in relevant]
        assert values[f"recall@{k}"] == pytest.approx(statistics.fmean(recalls))
        assert values[f"hit@{k}"] == pytest.approx(statistics.fmean(hits))


def test_chance_with_relevant_documents_that_were_not_searched():
    values = chance(np.array([4, 2]), 100, [10, 200], searched=np.array([2, 0]))

    assert values["recall@10"] == pytest.approx((0.1 * 2 / 4 + 0) / 2)
    assert values["hit@10"] == pytest.approx((1 - (90 / 100) * (89 / 99)) / 2)
    assert values["recall@200"] == pytest.approx(0.25) and values["hit@200"] == pytest.approx(0.5)
    with pytest.raises(ValueError, match="3 relevant documents among 2 documents"):
        chance(np.array([3]), 2, [1])
