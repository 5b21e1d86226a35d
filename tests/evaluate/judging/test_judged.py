from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from evaluate import ranked as ranked_module
from evaluate.ids import decode_ids, encode_ids, id_hashes
from evaluate.judging.ground_truth import GroundTruth
from evaluate.judging.judged import judge, summary
from evaluate.ranked import RankedAttributes, write_ranked
from tests.evaluate.dumps import Ids, write_lists

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

    assert decode_ids(judged.not_searched) == ["lost", "lost too"]
    assert judged.searched.tolist() == [1, 0, 0]
    assert len(judged.found.rank) == 0


def test_ids_spelled_differently_on_the_two_sides_are_an_error_that_shows_both(tmp_path):
    ranked = lists_of_ten(tmp_path)

    with pytest.raises(
        ValueError, match=r"none of its 3 queries .* spelled 'v1', those of the ground truth '3000003_0'; .*--released_ids.*this split"
    ):
        judge(ranked, GroundTruth.of_pairs([("3000003_0", ["g1"])]))
    # As the release spells the truth of goods2video: its queries are plain, its documents are not.
    with pytest.raises(ValueError) as caught:
        judge(ranked, GroundTruth.of_pairs([("v1", ["3000000.jpg", "3000001.jpg"]), ("v2", ["3000000.jpg"])]))
    assert str(caught.value) == (
        f"{tmp_path / 'ranked.h5'}: none of the 2 relevant documents of its queries was searched; a document that was is spelled 'g1', a relevant "
        "one '3000000.jpg'; for the spelling of the Real20M release give --released_ids, else the ground truth of this split and direction"
    )


def test_a_ground_truth_without_relevant_documents_is_not_taken_for_another_spelling(tmp_path):
    with pytest.raises(ValueError, match=r"ranked.h5: 2 of its 3 queries are in the ground truth, which lists no relevant document for any of them"):
        judge(lists_of_ten(tmp_path), GroundTruth.of_pairs([("v1", []), ("v2", []), ("v9", ["g1"])]))


def test_the_relevant_documents_that_count_and_all_searched_ones_have_a_hash_of_their_own(tmp_path):
    ranked = lists_of_ten(tmp_path)
    pairs = [("v3", ["g1", "lost"]), ("v1", ["g11", "g2"])]

    plain = judge(ranked, GroundTruth.of_pairs(pairs))
    turned = judge(ranked, GroundTruth.of_pairs([(query, ids[::-1]) for query, ids in pairs[::-1]]))
    other = judge(ranked, GroundTruth.of_pairs([("v1", ["g11", "g3"]), ("v3", ["g1", "lost"])]))
    searched = judge(ranked, GroundTruth.of_pairs(pairs), searched_only=True)

    g1, g2, g11, lost = (int(value) for value in id_hashes(encode_ids(["g1", "g2", "g11", "lost"])))
    assert plain.truth.tolist() == turned.truth.tolist() == [(g2 + g11) % 2**64, 0, (g1 + lost) % 2**64]
    assert (other.truth != plain.truth).tolist() == [True, False, False]
    assert searched.truth.tolist() == [(g2 + g11) % 2**64, 0, g1]
    assert plain.corpus == f"{sum(id_hashes(encode_ids(DOCS)).tolist()) % 2**64:016x}"


def slow_places(lists, folded, truth):
    """The slow obvious twin: {query: ranks of its relevant documents that are in the list or stood for}."""
    found = {}
    for query, ids in lists.items():
        ranks = {document: rank for rank, document in enumerate(ids, 1)}
        ranks |= {item: ranks[other] for own, item, other in folded if own == query}
        found[query] = sorted(ranks[item] for item in truth.get(query, ()) if item in ranks)
    return found


@pytest.mark.parametrize("seed", range(3))
def test_matching_is_that_of_dicts_and_sets(tmp_path, seed, monkeypatch):
    monkeypatch.setattr(ranked_module, "BLOCK_BYTES", 300 * (seed + 1))
    draw = np.random.default_rng(seed)
    docs = [f"g{'é' * (row % 4)}{row}" for row in range(80)]
    searched = [docs[row] for row in draw.permutation(80)[:60]]
    lists = {f"v{row}": [searched[place] for place in draw.permutation(60)[:20]] for row in range(50)}
    folded = [(query, item, ids[int(draw.integers(20))]) for query, ids in lists.items() for item in list(set(searched) - set(ids))[:3]]
    truth = {f"v{row}": [docs[place] for place in draw.permutation(80)[: draw.integers(0, 9)]] for row in draw.permutation(70)[:60]}

    judged = judge(write_lists(tmp_path / "ranked.h5", lists, searched, folded=folded), GroundTruth.of_pairs(truth.items()))

    slow = slow_places(lists, folded, truth)
    assert [judged.found.rank[judged.found.query == row].tolist() for row in range(50)] == [slow[query] for query in lists]
    assert judged.found.relevant.tolist() == [len(truth.get(query, ())) for query in lists]
    assert judged.searched.tolist() == [sum(item in set(searched) for item in truth.get(query, ())) for query in lists]
    absent = {item for query in lists for item in truth.get(query, ())} - set(searched)
    assert decode_ids(judged.not_searched) == sorted(absent, key=str.encode)
    assert judged.queries_not_searched == sum(1 for query, ids in truth.items() if ids and query not in lists)


def test_relevant_documents_that_were_not_searched_can_be_left_out(tmp_path):
    ranked = lists_of_ten(tmp_path)
    truth = GroundTruth.of_pairs([("v1", ["g2", "g11", "lost"]), ("v2", ["lost"]), ("v3", ["g1"])])

    judged = judge(ranked, truth, searched_only=True)

    assert judged.found.relevant.tolist() == [2, 0, 1] and judged.relevant_not_in_docs == 2
    values = summary(ranked, judged)
    assert values["queries_evaluated"] == 2 and values["recall@5"] == pytest.approx((1 / 2 + 1) / 2)
    with pytest.raises(ValueError, match="none of the 1 relevant documents of its queries was searched"):
        judge(ranked, GroundTruth.of_pairs([("v1", ["lost"])]), searched_only=True)


PEAK = """
import sys
from pathlib import Path
import numpy as np
from evaluate import ranked as module
from evaluate.judging import metrics, resample
from evaluate.judging.ground_truth import read_ground_truth
from evaluate.judging.judged import judge
from evaluate.judging.per_query import per_query
from evaluate.ranked import Ranked
from evaluate.judging.resample import bootstrap
module.BLOCK_BYTES = metrics.FLAG_BYTES = resample.BLOCK_BYTES = 1 << 20  # so that both sizes take many blocks
ranked, whole = Ranked(sys.argv[1]), []
if sys.argv[3:]:
    whole = [block.ranks for block in ranked.blocks()]
judged = judge(ranked, read_ground_truth(sys.argv[2]))
values = per_query(judged.found, ranked.attributes.docs, [1, 10, 100])
bootstrap(values, 20, 0)
print(next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")).split()[1])
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc, which this system lacks")
def test_ten_times_the_queries_are_not_ten_times_the_memory(tmp_path):
    draw = np.random.default_rng(0)
    docs = Ids([f"{10**6 + row}" for row in range(20_000)])
    for queries in (3_000, 30_000):
        asking = Ids([f"{3 * 10**6 + row}" for row in range(queries)])
        ranks = (draw.integers(0, 20_000, (queries, 1)) + 7 * np.arange(500)) % 20_000
        about = RankedAttributes("video2goods", 20_000, "c0ffee")
        write_ranked(tmp_path / f"{queries}.h5", asking, docs, docs.ids(), ranks, np.zeros(ranks.shape, np.float32), about)
        with open(tmp_path / f"{queries}.tsv", "w") as file:
            for row in range(queries):
                file.write(f"{3 * 10**6 + row}\t{','.join(str(10**6 + (row * 31 + other) % 20_000) for other in range(5))}\n")

    def peak_mb(queries: int, *held: str) -> float:
        command = [sys.executable, "-c", PEAK, str(tmp_path / f"{queries}.h5"), str(tmp_path / f"{queries}.tsv"), *held]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) / 1024

    few, many, many_held = peak_mb(3_000), peak_mb(30_000), peak_mb(30_000, "held")

    # 27,000 more queries: lists of 54 MB (as Python objects ten times that), ids and numbers of some hundred bytes a query.
    assert many - few < 25, f"{few:.0f} MB for 3,000 queries, {many:.0f} MB for 30,000"
    assert many_held - many > 35, "30,000 lists held at once must show, or this test measures nothing"
