from __future__ import annotations

import statistics

import numpy as np
import pytest

from evaluate.judging.ground_truth import GroundTruth
from evaluate.judging.groups import Groups
from evaluate.judging.judged import judge
from evaluate.judging.metrics import Found
from evaluate.judging.per_query import per_query
from tests.evaluate.dumps import write_lists

DOCS = [f"g{number}" for number in range(12)]
KINDS = [["Food", "Fruit"], ["Food", "Tea"], ["Home"]]
OF_DOCS = {document: KINDS[row % 3] for row, document in enumerate(DOCS) if document != "g11"}
TRUTH = {"v1": ["g0", "g3"], "v2": ["g1", "g2"], "v3": ["g11"], "v4": ["lost"], "v5": ["g5", "g1"]}


def grouped(folder, by, of_queries=None):
    """{group: ids of its queries}, and Groups."""
    lists = dict.fromkeys([*TRUTH, "v6"], DOCS)
    ranked = write_lists(folder / "ranked.h5", lists, DOCS, labels={"category": (of_queries or {}, OF_DOCS)})
    judged = judge(ranked, GroundTruth.of_pairs(TRUTH.items()), by)
    values = per_query(judged.found, 12)
    assert judged.groups is not None
    of_values = judged.groups.of_values(values)
    return {name: ranked.query_ids[own.rows].astype(str).tolist() for name, own in of_values.items()}, judged.groups, values, of_values


def test_a_query_without_a_label_belongs_to_the_categories_of_its_relevant_documents(tmp_path):
    members, groups, values, of_values = grouped(tmp_path, "category:2")

    assert groups.of == "relevant documents"
    assert members == {"Food / Tea": ["v2", "v5"], "Home": ["v2", "v5"], "Food / Fruit": ["v1"]}
    recall = dict(zip(TRUTH, values.column("recall@5")))
    assert of_values["Food / Tea"].metrics()["recall@5"] == statistics.fmean([recall["v2"], recall["v5"]])
    assert of_values["Food / Fruit"].metrics()["median_rank"] == 1


def test_levels_are_counted_from_the_coarsest(tmp_path):
    members, groups, _, _ = grouped(tmp_path, "category")

    assert members == {"Food": ["v1", "v2", "v5"], "Home": ["v2", "v5"]} and groups.by == "category"


def test_a_label_of_the_queries_comes_before_that_of_their_documents(tmp_path):
    members, groups, _, _ = grouped(tmp_path, "category", {"v1": ["Home"], "v5": ["Home"], "v6": ["Food"]})

    assert groups.of == "query" and members == {"Home": ["v1", "v5"]}, "v6 has nothing relevant and is in no mean"


def test_groups_are_those_of_sets_on_random_data():
    draw = np.random.default_rng(0)
    relevant = draw.integers(0, 3, 200)
    values = per_query(Found(relevant, np.zeros(0, int), np.zeros(0, int), 10), 10)
    pairs = sorted({(int(group), int(query)) for group, query in zip(draw.integers(0, 5, 300), draw.integers(0, 200, 300))})
    groups = Groups("brand", "query", tuple("abcde"), np.array([query for _, query in pairs]), np.array([group for group, _ in pairs]))

    own = groups.of_values(values)

    slow = {name: [query for group, query in pairs if group == number and relevant[query]] for number, name in enumerate("abcde")}
    assert {name: group.rows.tolist() for name, group in own.items()} == slow
    sizes = [len(group.rows) for group in own.values()]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize("by", ["category:0", "category:two", "category:-1"])
def test_a_number_of_levels_is_a_number(tmp_path, by):
    with pytest.raises(ValueError, match=f"--by {by}: give a label, or a label and a number of levels"):
        grouped(tmp_path, by)


def test_a_label_that_the_search_did_not_keep_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"the label brand was not kept \(kept: category\); search dumps that have it with --labels brand"):
        grouped(tmp_path, "brand")
