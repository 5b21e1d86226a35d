from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from evaluate.approximate.add import add
from evaluate.approximate.build import Wanted, build
from evaluate.approximate.folder import open_index
from evaluate.ids import decode_ids
from tests.evaluate.approximate.corpus import CLIPS, DOCUMENTS, GOODS, clips_of, exact_best, goods_and_clips, goods_of, share_found, vectors


@pytest.fixture
def index(lists_index, tmp_path) -> Path:
    """A copy of the index, to be added to."""
    return Path(shutil.copytree(lists_index, tmp_path / "index"))


def test_rows_of_an_added_dump_follow_those_that_are_there(corpus, index, tmp_path):
    more = goods_and_clips(tmp_path / "more", seed=5, prefix="h", goods=900)

    card = add(index, [corpus], [more], DOCUMENTS, "goods", clips_of(corpus), quiet=True)

    everything, goods = goods_of(corpus, more), np.concatenate([vectors(GOODS, 0), vectors(900, 5)])
    searching, again = open_index(index, everything)
    _, rows = searching.best(vectors(CLIPS, 1000), 20)
    exact = exact_best(vectors(CLIPS, 1000), goods, 20)
    assert again == card and card.reached and card.number == 3900 and [Path(source["dump"]).name for source in card.sources] == ["dump", "more"]
    assert card.recall == pytest.approx(share_found(exact[1::2], rows[1::2]), abs=1e-9)
    assert (rows >= GOODS).any()
    assert decode_ids(everything.ids_at(np.array([2999, 3000, 3899]))) == ["g2999", "h0", "h899"]
    # An added document finds itself by its own number.
    longest = GOODS + int(np.linalg.norm(vectors(900, 5), axis=1).argmax())
    assert searching.best(goods[longest : longest + 1], 1)[1].tolist() == [[longest]]


def test_adding_again_does_nothing(corpus, index, tmp_path, capsys):
    more = goods_and_clips(tmp_path / "more", seed=5, prefix="h", goods=900)
    add(index, [corpus], [more], DOCUMENTS, "goods", quiet=True)
    before = (index / "index.faiss").stat()

    card = add(index, [corpus], [more], DOCUMENTS, "goods", quiet=True)

    assert card.number == 3900 and (index / "index.faiss").stat() == before
    assert "more already" in capsys.readouterr().out


def test_what_is_there_already_or_has_an_id_of_another_is_refused(corpus, index, tmp_path):
    more = goods_and_clips(tmp_path / "more", seed=6, prefix="h", goods=100)
    for new in ([corpus], [more, more]):
        with pytest.raises(ValueError, match=rf"{new[-1].folder} is given twice; give each dump once"):
            add(index, [corpus], new, DOCUMENTS, "goods")
    again = goods_and_clips(tmp_path / "again", seed=5, goods=100)
    with pytest.raises(ValueError, match=r"dump and .*again both hold the id 'g0'; an item has one vector"):
        add(index, [corpus], [again], DOCUMENTS, "goods")
    with pytest.raises(ValueError, match=r"index was made from .*dump, which .*again is not"):
        add(index, [again], [corpus], DOCUMENTS, "goods")


def test_nothing_is_added_to_a_damaged_index(corpus, index, tmp_path, monkeypatch):
    """It is read whole, so that its checksum is looked at whatever its size."""
    more = goods_and_clips(tmp_path / "more", seed=6, prefix="h", goods=100)
    monkeypatch.setattr("evaluate.approximate.folder.CHECKED_BYTES", 0)
    with open(index / "index.faiss", "r+b") as file:
        file.seek(-1000, 2)
        file.write(bytes(900))

    with pytest.raises(ValueError, match=r"index.faiss: its SHA-256 is not the one on its card, so it is damaged; build the index again"):
        add(index, [corpus], [more], DOCUMENTS, "goods")


def test_an_addition_that_the_lists_do_not_fit_is_said(corpus, index, tmp_path, capsys, monkeypatch):
    more = goods_and_clips(tmp_path / "more", seed=5, prefix="h", goods=900)
    monkeypatch.setattr("evaluate.approximate.tune.MOST_FACTOR", 1)
    build(goods_of(corpus), index, Wanted("IVF32,PQ1np", top_k=20), clips_of(corpus), quiet=True)

    card = add(index, [corpus], [more], DOCUMENTS, "goods", clips_of(corpus), quiet=True)

    assert not card.reached and "build the index again from all dumps for recall 0.95" in capsys.readouterr().out
