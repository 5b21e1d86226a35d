from __future__ import annotations

import numpy as np
import pytest

from evaluate import dedup
from evaluate.dedup import distinct_lists, keep_distinct
from evaluate.dump import Dump
from evaluate.engines.faiss_flat import FaissBest, search_arrays
from tests.evaluate.dumps import write_dump


def slowly(rows: np.ndarray, ranking: list[int], k: int, threshold: float) -> tuple[list[int], dict[int, int]]:
    """The slow obvious twin: (documents kept, {document folded: place of what stands for it}), pair by pair."""
    lengths = np.linalg.norm(rows, axis=1)
    kept: list[int] = []
    folded = {}
    for document in ranking:
        if len(kept) == k:
            break
        near = [place for place, other in enumerate(kept) if rows[document] @ rows[other] > threshold * lengths[document] * lengths[other]]
        if near:
            folded[document] = near[0]
        else:
            kept.append(document)
    return kept, folded


def clustered(documents: int, clusters: int, dim: int = 16, seed: int = 0) -> np.ndarray:
    """Rows around a few centres, of several lengths; within a cluster cosines are about .98."""
    draw = np.random.default_rng(seed)
    centres = draw.standard_normal((clusters, dim))
    rows = centres[draw.integers(0, clusters, documents)] + 0.13 * draw.standard_normal((documents, dim))
    return (rows * draw.uniform(0.5, 2, (documents, 1))).astype(np.float32)


@pytest.mark.parametrize(("at_once", "head"), [(1, 64), (5, 4), (256, 1), (256, 8), (256, 64)])
@pytest.mark.parametrize("k", [1, 12, 60, 400])
def test_a_list_is_walked_as_by_hand(monkeypatch, at_once, head, k):
    monkeypatch.setattr(dedup, "CANDIDATES_AT_ONCE", at_once)
    monkeypatch.setattr(dedup, "HEAD", head)
    rows = clustered(300, 40)
    ranking = np.random.default_rng(1).permutation(300)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)

    kept, folded, stands_in = keep_distinct(unit, ranking, k, 0.98)

    slow_kept, slow_folded = slowly(rows, ranking.tolist(), k, 0.98)
    assert ranking[kept].tolist() == slow_kept
    assert dict(zip(ranking[folded].tolist(), stands_in.tolist())) == slow_folded
    assert len(folded) > 0 or k == 1


def test_a_document_near_one_that_was_folded_itself_is_kept():
    # Cosines of neighbours are .99, of the first and the third .96: the second falls to the first, and so the third stays.
    angles = np.array([0.0, 0.1415, 0.283])
    unit = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)

    kept, folded, stands_in = keep_distinct(unit, np.arange(3), 3, 0.98)

    assert (kept.tolist(), folded.tolist(), stands_in.tolist()) == ([0, 2], [1], [0])


@pytest.mark.parametrize("memory_bytes", [1 << 29, 1 << 10])
def test_more_candidates_are_asked_for_until_the_list_is_full(tmp_path, monkeypatch, memory_bytes):
    monkeypatch.setattr(dedup, "MEMORY_BYTES", memory_bytes)
    docs = np.concatenate([np.tile([[3.0, 0, 0]], (40, 1)), np.eye(3), [[0, 2, 1.0]], np.zeros((2, 3))]).astype(np.float32)
    queries = np.array([[1, 0.5, 0.2], [0, 1, 0.1]], np.float32)
    side = Dump(write_dump(tmp_path / "dump", [("goods", docs, [f"g{row}" for row in range(len(docs))])])).side()
    asked = []

    def best(chosen, depth):
        asked.append((chosen.tolist(), depth))
        own = FaissBest(queries[chosen], depth)
        own.add(docs, 0)
        return own.result()

    lists = distinct_lists(best, 2, side, 3, 0.98, tmp_path / "scratch")

    assert asked[0] == ([0, 1], 6) and all(chosen == [0] for chosen, _ in asked[1:]) and asked[-1][1] == len(docs)
    for query in range(2):
        kept, folded = slowly(docs, search_arrays(queries, docs, len(docs))[1][query].tolist(), 3, 0.98)
        assert lists.rows[query].tolist() == kept
        np.testing.assert_allclose(lists.scores[query], docs[kept] @ queries[query], rtol=1e-6)
        own = lists.folded.query == query
        assert dict(zip(lists.folded.doc[own].tolist(), lists.folded.place[own].tolist())) == folded
    assert (np.diff(lists.folded.query) >= 0).all() and not any((tmp_path / "scratch").glob("*"))


def test_a_list_is_shorter_where_the_corpus_has_no_more_that_differ(tmp_path):
    docs = np.tile([[1.0, 1.0]], (5, 1)).astype(np.float32)
    side = Dump(write_dump(tmp_path / "dump", [("goods", docs, list("abcde"))])).side()

    lists = distinct_lists(lambda chosen, depth: search_arrays(docs[:1], docs, depth), 1, side, 4, 0.98, tmp_path)

    assert lists.rows.tolist() == [[0, -1, -1, -1]] and lists.scores[0, 0] == 2 and np.isneginf(lists.scores[0, 1:]).all()
    assert lists.folded.doc.tolist() == [1, 2, 3, 4] and lists.folded.place.tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("threshold", [-0.5, 1.0, 98.0, float("nan")])
def test_a_threshold_that_is_no_cosine_is_refused(tmp_path, threshold):
    side = Dump(write_dump(tmp_path / "dump", [("goods", np.ones((1, 2)), ["a"])])).side()

    with pytest.raises(ValueError, match="a cosine between 0 and 1"):
        distinct_lists(lambda chosen, depth: search_arrays(np.ones((1, 2)), np.ones((1, 2)), depth), 1, side, 1, threshold, tmp_path)
