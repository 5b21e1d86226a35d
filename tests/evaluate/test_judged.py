from __future__ import annotations

import pytest

from evaluate.ground_truth import GroundTruth
from evaluate.judged import judge, summary
from tests.evaluate.dumps import write_lists

DOCS = [f"g{number}" for number in range(1, 13)]


def lists_of_ten(tmp_path):
    """Three queries, twelve documents searched, the first ten of them listed in this and in reverse order."""
    return write_lists(tmp_path / "ranked.h5", {"v1": DOCS[:10], "v2": DOCS[:10][::-1], "v3": DOCS[:10]}, DOCS)


def test_what_is_left_out_or_missing_is_counted(tmp_path):
    ranked = lists_of_ten(tmp_path)
    truth = GroundTruth.of_pairs([("v1", ["g2", "g11", "lost"]), ("v2", ["g8", "lost"]), ("v9", ["g1"]), ("v8", [])])

    values = summary(ranked, judge(ranked, truth), "test")

    assert (values["task"], values["split"], values["docs"], values["top_k"]) == ("video2goods", "test", 12, 10)
    assert (values["queries"], values["queries_without_relevant"], values["queries_evaluated"]) == (3, 1, 2)
    assert values["queries_not_searched"] == 1
    assert values["relevant_not_in_docs"] == 2
    assert values["recall@1"] == 0
    assert values["recall@5"] == pytest.approx((1 / 3 + 1 / 2) / 2)
    assert values["hit@5"] == 1
    assert values["median_rank"] == 2.5 and values["median_rank_is_lower_bound"] is False
    assert values["checkpoint"] == "c0ffee"


def test_documents_that_were_not_searched_are_told_from_those_not_found(tmp_path):
    judged = judge(lists_of_ten(tmp_path), GroundTruth.of_pairs([("v1", ["g11", "lost", "lost too"])]))

    assert judged.not_searched == {"lost", "lost too"}
    assert judged.searched.tolist() == [1, 0, 0]
    assert len(judged.found.rank) == 0


def test_ids_spelled_differently_on_the_two_sides_are_an_error_that_shows_both(tmp_path):
    with pytest.raises(ValueError, match=r"none of its 3 queries .* spelled 'v1', those of the ground truth '3000003_0'; .*--released_ids"):
        judge(lists_of_ten(tmp_path), GroundTruth.of_pairs([("3000003_0", ["g1"])]))
