from __future__ import annotations

import shutil
import subprocess
import sys

import numpy as np
import pytest

from evaluate.approximate.held_out import draw_rows, hold_out
from evaluate.dump import Dump
from evaluate.joined import Joined
from tests.evaluate.approximate.corpus import CLIPS, GOODS, clips_of, exact_best, goods_and_clips, goods_of, vectors
from tests.evaluate.dumps import write_dump


def test_queries_are_drawn_with_what_exact_search_finds_for_them(corpus):
    held_out = hold_out(goods_of(corpus), clips_of(corpus), 50, 10, 3, quiet=True)

    drawn = draw_rows(CLIPS, 50, 3)
    clips, goods = vectors(CLIPS, 1000), vectors(GOODS, 0)
    np.testing.assert_array_equal(held_out.queries, clips[drawn])
    np.testing.assert_array_equal(held_out.exact[:, :10], exact_best(clips[drawn], goods, 10))
    assert (held_out.exact[:, 10:] == -1).all() and (held_out.sure == 9).all()
    assert len(held_out.own) == 0 and held_out.depth == held_out.k == 10


def test_documents_that_ask_do_not_count_for_themselves(corpus):
    held_out = hold_out(goods_of(corpus), None, 60, 10, 3, quiet=True)

    goods = vectors(GOODS, 0)
    np.testing.assert_array_equal(held_out.own, draw_rows(GOODS, 60, 3))
    for own, exact in zip(held_out.own, held_out.exact):
        ranked = np.argsort(-(goods[own] @ goods.T), kind="stable")
        assert exact[:10].tolist() == ranked[ranked != own][:10].tolist()
    assert held_out.depth == 11


def test_halves_share_no_query(corpus):
    whole = hold_out(goods_of(corpus), None, 61, 5, 0, quiet=True)

    one, other = whole.halves()

    assert (len(one.queries), len(other.queries)) == (31, 30)
    np.testing.assert_array_equal(np.stack([one.queries[:30], other.queries], axis=1).reshape(60, -1), whole.queries[:60])
    np.testing.assert_array_equal(other.exact, whole.exact[1::2])


def test_recall_is_the_share_of_the_exact_results(tmp_path):
    goods = np.diag([4.0, 3, 2, 1]).astype(np.float32)
    clips = np.array([[1, 1, 1, 1], [-1, 1, -1, 2]], np.float32)
    dump = Dump(write_dump(tmp_path, [("goods", goods, list("abcd")), ("video", clips, ["v", "w"])]))
    held_out = hold_out(Joined([dump], domain="goods"), Joined([dump], domain="video"), 2, 2, 0, quiet=True)

    assert held_out.exact[:, :2].tolist() == [[0, 1], [1, 3]]
    assert held_out.recall(np.array([[0, 3, 1], [2, 1, -1]])).tolist() == [1.0, 0.5]


def test_of_documents_that_tie_with_the_last_any_will_do(tmp_path):
    goods = np.array([[3, 0], [2, 0], [2, 0], [2, 0], [1, 0]], np.float32)
    dump = Dump(write_dump(tmp_path, [("goods", goods, list("abcde")), ("video", np.eye(2, dtype=np.float32) + 1, ["v", "w"])]))
    held_out = hold_out(Joined([dump], domain="goods"), Joined([dump], domain="video"), 2, 2, 0, quiet=True)

    assert held_out.exact.tolist() == [[0, 1, 2, 3, -1]] * 2 and held_out.sure.tolist() == [1, 1]
    assert held_out.recall(np.array([[0, 3], [3, 2]])).tolist() == [1.0, 0.5]
    assert held_out.recall(np.array([[0, 4], [-1, -1]])).tolist() == [0.5, 0.0]


def test_rows_are_drawn_uniformly_and_never_those_that_are_left_out():
    without = np.array([0, 1, 2, 50, 98, 99])
    counts = np.zeros(100, int)

    for seed in range(600):
        rows = draw_rows(100, 20, seed, without)
        assert len(np.unique(rows)) == 20 and (np.diff(rows) > 0).all()
        counts[rows] += 1

    assert counts[without].sum() == 0
    expected = 600 * 20 / 94
    assert np.abs(np.delete(counts, without) - expected).max() < 5 * np.sqrt(expected)
    assert draw_rows(10, 20, 0, np.array([4])).tolist() == [0, 1, 2, 3, 5, 6, 7, 8, 9]


ORDER = """
import sys
from evaluate.build_index import main
from evaluate.engines import choice

choice.SMALL, choice.multiplies_bf16 = 0, lambda: True  # as for a long search on a processor for which torch is tried
main(sys.argv[1:])
loaded = list(sys.modules)
assert loaded.index("torch") < loaded.index("faiss")
"""


@pytest.mark.parametrize("added", [False, True])
def test_a_process_that_may_search_with_torch_loads_it_before_faiss(corpus, lists_index, tmp_path, added):
    index = shutil.copytree(lists_index, tmp_path / "index")
    goods_and_clips(tmp_path / "more", 5, "h", 100, 10)
    what = ["--add", str(tmp_path / "more")] if added else ["--index", "IVF4,Flat", "--top_k", "5"]

    command = [sys.executable, "-c", ORDER, "--docs", str(corpus.folder), "--domain", "goods", "--out", str(index), "--held_out", "20", *what]
    ended = subprocess.run(command, capture_output=True, text=True)

    assert ended.returncode == 0, ended.stderr


def test_documents_that_ask_are_a_tenth_at_most_and_too_few_of_either_are_refused(corpus, tmp_path):
    goods = goods_of(corpus)
    lone = Dump(write_dump(tmp_path, [("video", vectors(1, 0), ["v"])]))

    with pytest.raises(ValueError, match="1 queries for 3000 documents; an index is measured with at least 2 of each"):
        hold_out(goods, Joined([lone]), 50, 10, 0)
    assert len(hold_out(goods, None, 1000, 10, 0, quiet=True).own) == 300
    with pytest.raises(ValueError, match=r"--top_k 3001: .* holds 3000 documents; measure the recall of at most as many"):
        hold_out(goods, None, 50, 3001, 0)
    with pytest.raises(ValueError, match="--held_out 1 --top_k 10: at least 2 queries"):
        hold_out(goods, None, 1, 10, 0)
