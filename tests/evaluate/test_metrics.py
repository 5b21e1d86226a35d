from __future__ import annotations

import importlib.util
import itertools
import json
import math
import statistics

import numpy as np
import pytest
import pytrec_eval

from evaluate import metrics
from evaluate.index import search_arrays
from evaluate.metrics import Found, all_metrics, chance, find

# Three queries over ten documents, lists of five. Worked by hand below.
RANKS = np.array([[4, 2, 7, 1, 0], [3, 8, 9, 5, 6], [0, 1, 2, 3, 4]])
RELEVANT = [np.array([2, 0, 9]), np.array([1]), np.array([], np.int64)]


def slow_metrics(ranks, relevant, docs, cutoffs):
    """The slow obvious twin of all_metrics: lists, sets and loops, a query at a time."""
    rows: dict[str, list[float]] = {}
    first_ranks = []
    for own, wanted in zip(ranks.tolist(), [set(ids.tolist()) for ids in relevant]):
        if not wanted:
            continue
        places = [place for place, document in enumerate(own, 1) if document in wanted and document >= 0]
        first_ranks.append(places[0] if places else len(own) + 1)
        values = {f"recall@{k}": sum(place <= k for place in places) / len(wanted) for k in cutoffs}
        values.update({f"hit@{k}": float(any(place <= k for place in places)) for k in (1, 5, 10)})
        values["mrr"] = 1 / places[0] if places else 0.0
        values["map"] = sum(number / place for number, place in enumerate(places, 1)) / len(wanted)
        ideal = sum(1 / math.log2(1 + place) for place in range(1, min(10, len(wanted)) + 1))
        values["ndcg@10"] = sum(1 / math.log2(1 + place) for place in places if place <= 10) / ideal
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
    found = find(RANKS, RELEVANT)

    assert found.relevant.tolist() == [3, 1, 0]
    assert list(zip(found.query.tolist(), found.rank.tolist())) == [(0, 2), (0, 5)]
    assert metrics.recall_at(found, 1) == 0
    assert metrics.recall_at(found, 2) == pytest.approx((1 / 3 + 0) / 2)
    assert metrics.recall_at(found, 5) == pytest.approx((2 / 3 + 0) / 2)
    assert metrics.hit_at(found, 2) == 0.5
    assert metrics.first_ranks(found)[:2].tolist() == [2, 6]
    assert metrics.median_rank(found) == 4 and metrics.median_is_bound(found)
    assert metrics.mean_reciprocal_rank(found) == pytest.approx((1 / 2 + 0) / 2)
    assert metrics.mean_average_precision(found) == pytest.approx(((1 / 2 + 2 / 5) / 3 + 0) / 2)
    ideal = 1 + 1 / math.log2(3) + 1 / math.log2(4)
    assert metrics.ndcg_at(found, 10) == pytest.approx((1 / math.log2(3) + 1 / math.log2(6)) / ideal / 2)


def test_the_median_is_no_bound_where_the_middle_query_found_something():
    found = find(np.array([[5, 1], [1, 5], [0, 2]]), [np.array([5]), np.array([5]), np.array([9])])

    assert metrics.median_rank(found) == 2 and not metrics.median_is_bound(found)


@pytest.mark.parametrize("seed", range(4))
def test_every_metric_agrees_with_its_slow_twin(seed, monkeypatch):
    monkeypatch.setattr(metrics, "FLAG_BYTES", 1 << (9 + 3 * seed))
    ranks, relevant = random_lists(seed)
    ranks[3::7, 60:] = -1
    relevant[5] = np.array([-1, -1, 4])

    fast = all_metrics(find(ranks, relevant), 300, [1, 5, 10, 50, 100])

    slow = slow_metrics(ranks, [np.array([-2 - n if row < 0 else row for n, row in enumerate(own)]) for own in relevant], 300, [1, 5, 10, 50, 100])
    assert fast.keys() - slow.keys() == {"median_rank_is_lower_bound"}
    assert {name: fast[name] for name in slow} == pytest.approx(slow)


def test_curves_pass_through_the_metrics():
    found = find(*random_lists(9))

    recall, hit = metrics.recall_curve(found), metrics.hit_curve(found)

    assert len(recall) == len(hit) == 100
    for k in (1, 2, 17, 100):
        assert recall[k - 1] == pytest.approx(metrics.recall_at(found, k))
        assert hit[k - 1] == pytest.approx(metrics.hit_at(found, k))


def test_pytrec_eval_agrees():
    ranks, relevant = random_lists(3)
    qrels = {f"q{row}": {f"d{document}": 1 for document in own} for row, own in enumerate(relevant) if len(own)}
    run = {f"q{row}": {f"d{document}": 1.0 - place / 1000 for place, document in enumerate(own)} for row, own in enumerate(ranks)}

    theirs = pytrec_eval.RelevanceEvaluator(qrels, {"recall", "success", "recip_rank", "map", "ndcg_cut"}).evaluate(run)

    def mean(name):
        return statistics.fmean(values[name] for values in theirs.values())

    ours = all_metrics(find(ranks, relevant), 300, [5, 10, 100])
    pairs = {"recall@5": "recall_5", "recall@10": "recall_10", "recall@100": "recall_100", "hit@1": "success_1", "hit@5": "success_5"}
    pairs |= {"hit@10": "success_10", "mrr": "recip_rank", "map": "map", "ndcg@10": "ndcg_cut_10"}
    assert {name: ours[name] for name in pairs} == pytest.approx({name: mean(other) for name, other in pairs.items()})


def test_recall_is_that_of_the_reference_program(test_data):
    folder = test_data / "parity"
    specification = importlib.util.spec_from_file_location("fill", folder / "fill.py")
    fill = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(fill)
    reference = json.loads((folder / "recall.json").read_text())
    docs, queries = fill.normal("recall.docs", (5000, 64)), fill.normal("recall.queries", (300, 64))
    docs, queries = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (docs, queries))

    _, rows = search_arrays(queries, docs, 1000)
    values = all_metrics(find(rows, [np.array(own) for own in reference["relevant"]]), 5000)

    assert rows[:, :10].tolist() == reference["top10"]
    assert {name: values[name] for name in reference["recall"]} == pytest.approx(reference["recall"], rel=1e-9)


def test_default_cutoffs_are_those_that_the_documents_reach():
    found = find(np.arange(81).reshape(1, -1), [np.array([7])])

    values = all_metrics(found, 81)

    assert [name for name in values if name.startswith("recall@")] == ["recall@1", "recall@5", "recall@10", "recall@20", "recall@50"]
    assert values["hit@10"] == 1 and values["median_rank"] == 8


def test_fewer_documents_than_ten_still_have_all_hits():
    values = all_metrics(find(np.array([[1, 0, 2]]), [np.array([2])]), 3)

    assert values["hit@5"] == values["hit@10"] == 1 and values["hit@1"] == 0
    assert [name for name in values if name.startswith("recall@")] == ["recall@1"]


def test_lists_that_are_too_short_are_refused_with_the_remedy():
    found = find(np.arange(500).reshape(1, -1), [np.array([7])])

    with pytest.raises(ValueError) as caught:
        all_metrics(found, 2000)

    assert str(caught.value) == (
        "recall@1000 needs 1000 results a query, ranked.h5 has 500; search with --top_k 1000 or leave that cutoff out"
    )
    assert "recall@500" in all_metrics(found, 2000, [500])
    with pytest.raises(ValueError, match="recall@600 needs 600 documents, 500 were searched"):
        all_metrics(found, 500, [600])
    with pytest.raises(ValueError, match=r"hit@10 and ndcg@10 need 10 results a query, ranked.h5 has 5"):
        all_metrics(find(np.arange(5).reshape(1, -1), [np.array([7])]), 100, [5])
    with pytest.raises(ValueError, match="recall@0: a cutoff is at least 1"):
        all_metrics(found, 500, [0])


def test_no_query_with_a_relevant_document_is_an_error_and_not_a_zero():
    with pytest.raises(ValueError, match="none of 2 queries has a relevant document"):
        metrics.recall_at(Found(np.array([0, 0]), np.array([], int), np.array([], int), 5), 1)


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
