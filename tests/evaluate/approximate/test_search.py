from __future__ import annotations

import numpy as np
import pytest

from evaluate.approximate.build import Wanted, build
from evaluate.approximate.faiss_index import make
from evaluate.approximate.folder import open_index
from evaluate.approximate.search import IndexSearch
from evaluate.approximate.tune import Setting
from evaluate.dump import Dump
from evaluate.engines.faiss_flat import search_arrays
from evaluate.joined import Joined
from tests.evaluate.approximate.corpus import CLIPS, GOODS, clips_of, exact_best, goods_of, share_found, vectors
from tests.evaluate.dumps import write_dump


def searching_all(corpus: Dump, factory: str, factor: int = 0, parameters: str = "") -> IndexSearch:
    index = make(factory, 32, 0)
    index.train(vectors(GOODS, 0)[:1000])
    index.add(vectors(GOODS, 0))
    return IndexSearch(index, goods_of(corpus), Setting(parameters, factor), factory)


@pytest.mark.parametrize(("factory", "parameters"), [("IVF16,SQ8", "nprobe=16"), ("IVF16,PQ4np", "nprobe=16"), ("SQ8", "")])
def test_enough_candidates_re_ranked_are_exact_search(corpus, factory, parameters):
    clips = vectors(CLIPS, 1000)

    scores, rows = searching_all(corpus, factory, GOODS // 10, parameters).best(clips, 10)

    expected = search_arrays(clips, vectors(GOODS, 0), 10)
    np.testing.assert_array_equal(rows, expected[1])
    np.testing.assert_array_equal(scores, expected[0])


def test_equal_scores_are_ordered_by_row(tmp_path):
    rows = np.repeat(np.eye(4, 8, dtype=np.float32), 5, axis=0)[np.random.default_rng(0).permutation(20)]
    dump = Dump(write_dump(tmp_path, [("goods", rows, [f"g{row}" for row in range(20)])]))
    index = make("Flat", 8, 0)
    index.add(rows)

    scores, found = IndexSearch(index, Joined([dump]), Setting("", 0), "Flat").best(np.eye(1, 8, dtype=np.float32), 20)

    ones = np.flatnonzero(rows[:, 0])
    assert found[0].tolist() == [*ones.tolist(), *np.flatnonzero(rows[:, 0] == 0).tolist()]
    assert scores[0].tolist() == [1.0] * 5 + [0.0] * 15


def test_lists_that_are_not_searched_leave_places_empty(corpus):
    scores, rows = searching_all(corpus, "IVF64,Flat", 0, "nprobe=1").best(vectors(5, 7), 400)

    assert (rows[:, -1] == -1).all() and (scores[:, -1] == -np.inf).all() and (rows[:, 0] >= 0).all()


@pytest.mark.parametrize("factory", ["IVF16,Flat", "OPQ4,IVF8,PQ4np", "HNSW16", "IVF8,PQ4np,RFlat", "Flat", "IVF8,PQ4x4fs"])
def test_only_what_a_filter_allows_is_found(corpus, factory):
    allowed = np.arange(GOODS) % 5 == 0
    clips, goods = vectors(CLIPS, 1000), vectors(GOODS, 0)
    parameters = {"HNSW16": "efSearch=200", "Flat": ""}.get(factory, "nprobe=8")

    _, rows = searching_all(corpus, factory, 8 if "PQ4" in factory and "RFlat" not in factory else 0, parameters).best(clips, 10, allowed)

    assert allowed[rows[rows >= 0]].all()
    exact = np.flatnonzero(allowed)[exact_best(clips, goods[allowed], 10)]
    assert share_found(exact, rows) > (0.5 if "RFlat" in factory else 0.9)


def test_a_kind_that_cannot_be_filtered_is_one_line(corpus):
    with pytest.raises(ValueError, match=r"PQ4np cannot be searched with --only; leave --index out: FAISS says .*invalid search params"):
        searching_all(corpus, "PQ4np").best(vectors(5, 7), 10, np.arange(GOODS) < 50)


def test_vectors_of_all_lengths_are_found_by_inner_product(corpus, tmp_path):
    """Lists hold vectors by direction, and long vectors win inner products from lists that are not the nearest: more lists make up for it."""
    goods = vectors(GOODS, 0)
    lengths = np.linalg.norm(goods, axis=1)
    assert lengths.max() > 15 * lengths.min()

    card = build(goods_of(corpus), tmp_path / "index", Wanted("IVF64,Flat", recall=0.97, top_k=20), clips_of(corpus), quiet=True)

    searching, _ = open_index(tmp_path / "index", goods_of(corpus))
    scores, rows = searching.best(vectors(CLIPS, 1000), 20)
    assert card.reached and share_found(exact_best(vectors(CLIPS, 1000), goods, 20), rows) > 0.95
    np.testing.assert_allclose(scores, np.einsum("qd,qkd->qk", vectors(CLIPS, 1000), goods[rows]), rtol=1e-4, atol=1e-5)
    index = make("IVF64,Flat", 32, 0)
    index.train(goods)
    np.testing.assert_allclose(np.linalg.norm(index.quantizer.reconstruct_n(0, 64), axis=1), 1, rtol=1e-5)
