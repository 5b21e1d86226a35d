from __future__ import annotations

from dataclasses import replace

import pytest

from evaluate.approximate import given as given_index
from evaluate.approximate.build import Wanted, build
from evaluate.approximate.card import read_card
from evaluate.approximate.given import index_folder, wanted_index
from tests.evaluate.approximate.corpus import clips_of, goods_and_clips, goods_of

WANTED = Wanted("IVF16,SQ8", top_k=10, held_out=60)


def test_a_folder_is_taken_as_it_is_if_it_is_of_these_documents(corpus, lists_index, tmp_path):
    assert index_folder(Wanted(str(lists_index)), goods_of(corpus), clips_of(corpus), tmp_path) == lists_index

    other = goods_and_clips(tmp_path / "other", seed=1)
    with pytest.raises(ValueError, match=r"which .*other is not"):
        index_folder(Wanted(str(lists_index)), goods_of(other), clips_of(other), tmp_path)
    with pytest.raises(ValueError, match=r"--index .*/nowhere: neither the folder of an index nor a factory string"):
        index_folder(Wanted(str(tmp_path / "nowhere")), goods_of(corpus), clips_of(corpus), tmp_path)


def test_a_kind_is_built_once_and_again_when_something_else_is_wanted(corpus, tmp_path, monkeypatch):
    built = []
    monkeypatch.setattr(given_index, "build", lambda *arguments: (built.append(arguments[2]), build(*arguments)))

    folder = index_folder(WANTED, goods_of(corpus), clips_of(corpus), tmp_path, quiet=True)
    assert index_folder(WANTED, goods_of(corpus), clips_of(corpus), tmp_path, quiet=True) == folder == tmp_path / "index"
    assert built == [WANTED] and "queries of" in read_card(folder).queries

    other = goods_and_clips(tmp_path / "other", seed=1)
    changes = [(replace(WANTED, recall=0.9), corpus), (replace(WANTED, recall=0.9, memory="1kB"), corpus), (WANTED, other)]
    for wanted, dump in changes:
        index_folder(wanted, goods_of(dump), clips_of(dump), tmp_path, quiet=True)
    assert built[1:] == [wanted for wanted, _ in changes]


def test_few_queries_are_not_what_it_is_measured_with(corpus, tmp_path):
    few = goods_and_clips(tmp_path / "few", clips=99)

    folder = index_folder(WANTED, goods_of(corpus), clips_of(few), tmp_path, quiet=True)

    assert read_card(folder).queries.startswith("documents of its own")


def test_what_cannot_be_is_told_before_any_work(lists_index, tmp_path):
    assert wanted_index(None) is None
    assert wanted_index("auto", "8GB", 0.9) == Wanted("auto", "8GB", 0.9)
    assert wanted_index("auto") == Wanted("auto") and wanted_index(str(lists_index)) == Wanted(str(lists_index))
    for index, memory, recall, message in (
        (str(tmp_path), None, None, "no card.json, so not an index"),
        ("auto", "much", None, "--memory much: give a size"),
        ("auto", None, 0.0, "--recall 0: the share"),
        (None, "nonsense", None, "--memory nonsense: give a size"),
        (None, None, 7.0, "--recall 7: the share"),
        (None, "8GB", 0.95, "--memory --recall without --index: .* give --index auto, too, or leave it out"),
        (str(lists_index), None, 0.99, r"--recall with --index .*, which is built already \(IVF32,SQ8, nprobe=\d+, .*leave it out"),
    ):
        with pytest.raises(ValueError, match=message):
            wanted_index(index, memory, recall)
