from __future__ import annotations

import numpy as np
import pytest

from evaluate.approximate.build import Wanted
from evaluate.approximate.card import read_card
from evaluate.build_index import main as build_index
from evaluate.dump import Dump
from evaluate.dumps.array import ArrayVectors
from evaluate.ids import decode_ids
from evaluate.ranked import Ranked
from evaluate.search import main, search
from tests.evaluate.approximate.corpus import CLIPS, GOODS, exact_best, goods_and_clips, share_found, vectors
from tests.evaluate.test_search import lists_of


@pytest.fixture(scope="module")
def dump(tmp_path_factory) -> Dump:
    return goods_and_clips(tmp_path_factory.mktemp("search") / "dump")


@pytest.fixture(scope="module")
def index(dump, tmp_path_factory):
    """An index by lists, made by the command."""
    folder = tmp_path_factory.mktemp("index") / "index"
    given = ["--docs", str(dump.folder), "--domain", "goods", "--queries", str(dump.folder), "--query_domain", "video"]
    build_index([*given, "--out", str(folder), "--index", "IVF32,SQ8", "--top_k", "20"])
    return folder


def found_rows(ranked: Ranked) -> np.ndarray:
    """int64 [Q, K]: numbers in the ids of the documents, -1 for padding."""
    numbers = np.array([int(name[1:]) for name in decode_ids(ranked.doc_ids)] + [-1])
    return numbers[ranked.lists(range(ranked.queries), ranked.depth)[0]]


def test_lists_of_an_index_have_the_form_of_exact_ones_and_say_what_they_are(dump, index, tmp_path):
    exact = Ranked(search(dump, dump, tmp_path / "exact", "video2goods", 20, quiet=True))

    ranked = Ranked(search(dump, dump, tmp_path / "found", "video2goods", 20, quiet=True, index=Wanted(str(index))))

    card = read_card(index)
    assert share_found(exact_best(vectors(CLIPS, 1000), vectors(GOODS, 0), 20), found_rows(ranked)) >= 0.95
    assert (ranked.attributes.index, ranked.attributes.index_recall, ranked.attributes.index_recall_at) == (str(card), card.recall, 20)
    assert ranked.attributes.searched == {"search": f"approximate inner product: {card}", "search_recall@20": card.recall}
    assert exact.attributes.searched == {"search": "exact inner product"}
    assert [decode_ids(ids) for ids in ranked.searched_ids()] == [decode_ids(ids) for ids in exact.searched_ids()]
    assert len((tmp_path / "found" / "run.trec").read_text().splitlines()) == CLIPS * 20
    both, (theirs, scores) = lists_of(ranked)["gv0"], exact.lists([0], 20)
    place = lists_of(exact)["gv0"].index(both[0])
    assert ranked.lists([0], 1)[1][0, 0] == scores[0, place] and theirs.shape == (1, 20)


def test_an_index_is_chosen_built_and_asked_by_one_command(dump, tmp_path, capsys):
    given = ["--queries", str(dump.folder), "--docs", str(dump.folder), "--task", "video2goods", "--out", str(tmp_path), "--top_k", "20"]

    main([*given, "--index", "auto", "--memory", "1GB", "--recall", "0.9"])
    said = capsys.readouterr().out
    main([*given, "--index", "auto", "--memory", "1GB", "--recall", "0.9"])

    assert "3000 x 32, 1 GB, recall@20 0.9: Flat (384 kB)" in said and "recall@20 1.0000" in said
    assert f"{tmp_path / 'index'} is there already" in capsys.readouterr().out
    np.testing.assert_array_equal(found_rows(Ranked(tmp_path / "ranked.h5")), exact_best(vectors(CLIPS, 1000), vectors(GOODS, 0), 20))


def test_a_filter_leaves_its_documents_alone(dump, index, tmp_path):
    ranked = Ranked(search(dump, dump, tmp_path, "video2goods", 10, quiet=True, only=["category=Tea"], index=Wanted(str(index))))

    tea = np.arange(0, GOODS, 5)
    exact = tea[exact_best(vectors(CLIPS, 1000), vectors(GOODS, 0)[tea], 10)]
    assert ranked.attributes.docs == len(tea) and share_found(exact, found_rows(ranked)) >= 0.95


def test_a_list_is_as_long_as_there_are_documents(dump, tmp_path):
    few = goods_and_clips(tmp_path / "few", goods=60, clips=5)

    ranked = Ranked(search(few, few, tmp_path / "out", "video2goods", 1000, quiet=True, index=Wanted("Flat")))

    assert (ranked.depth, ranked.attributes.index_recall_at) == (60, 59)
    assert sorted(found_rows(ranked)[0].tolist()) == list(range(60))


def test_lists_that_are_deeper_than_what_the_index_was_tuned_for_are_told(dump, tmp_path, capsys):
    build_index(["--docs", str(dump.folder), "--domain", "goods", "--out", str(tmp_path / "index"), "--index", "IVF32,SQ8", "--top_k", "5"])
    capsys.readouterr()

    ranked = Ranked(search(dump, dump, tmp_path / "out", "video2goods", 2000, index=Wanted(str(tmp_path / "index"))))

    empty = int((found_rows(ranked) < 0).sum())
    said = capsys.readouterr().out
    assert "video2goods: lists of 2000 are deeper than the 5 results that the index was tuned for (--top_k of its build)" in said
    assert empty and f"; {empty:,} of 400,000 places stayed empty" in said and "best 2000 at most of 3000 documents" in said


def test_several_dumps_are_one_corpus_with_an_index_and_without(dump, tmp_path):
    more = goods_and_clips(tmp_path / "more", seed=5, prefix="h", goods=300, clips=5)

    def lists(out: str, index: Wanted | None) -> dict[str, list[str]]:
        return lists_of(Ranked(search(dump, [dump, more], tmp_path / out, "video2goods", 20, quiet=True, index=index)))

    exact = lists("exact", None)
    assert exact == lists("index", Wanted("Flat"))
    goods = np.concatenate([vectors(GOODS, 0), vectors(300, 5)])
    names = [f"g{row}" for row in range(GOODS)] + [f"h{row}" for row in range(300)]
    assert exact["gv3"] == [names[row] for row in exact_best(vectors(CLIPS, 1000)[3:4], goods, 20)[0]]


def test_what_does_not_go_with_an_index_is_one_line(dump, index, tmp_path):
    other = goods_and_clips(tmp_path / "other", seed=1)
    np.save(tmp_path / "goods.npy", vectors(30, 0))
    (tmp_path / "goods.ids.txt").write_text("".join(f"g{row}\n" for row in range(30)))
    given = Wanted(str(index))

    with pytest.raises(ValueError, match=r"index was made from .*dump, which .*other is not"):
        search(other, other, tmp_path, "video2goods", quiet=True, index=given)
    with pytest.raises(ValueError, match=r"--dedup looks for more documents .* leave --index out"):
        search(dump, dump, tmp_path, "video2goods", quiet=True, dedup=0.9, index=given)
    with pytest.raises(ValueError, match=r"goods.npy: an index is made from dumps"):
        search(dump, ArrayVectors(tmp_path / "goods.npy"), tmp_path, "video2goods", quiet=True, index=given)
    arguments = ["--queries", str(dump.folder), "--task", "video2goods", "--out", str(tmp_path), "--docs", str(dump.folder)]
    with pytest.raises(ValueError, match=r"--docs: several are folders of dumps"):
        main([*arguments, str(tmp_path / "goods.npy")])
    with pytest.raises(ValueError, match=r"--recall 1.2: the share of the exact results"):
        main([*arguments, "--index", "auto", "--recall", "1.2"])
    with pytest.raises(ValueError, match=r"--recall without --index"):
        main([*arguments, "--recall", "0.9"])
