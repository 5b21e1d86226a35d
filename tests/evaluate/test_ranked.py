from __future__ import annotations

import h5py
import numpy as np
import pytest

from evaluate import ranked as module
from evaluate.ids import decode_ids, encode_ids
from evaluate.ranked import Ranked, RankedAttributes, write_ranked
from tests.evaluate.dumps import Ids, write_lists


def test_lists_come_back_as_they_were_written(tmp_path):
    ranked = write_lists(tmp_path / "ranked.h5", {"v1": ["g3", "g1"], "视频 2": ["g2"]}, ["g1", "g2", "g3", "商品4"])

    again = Ranked(tmp_path / "ranked.h5")

    assert decode_ids(again.query_ids) == ["v1", "视频 2"] and decode_ids(again.doc_ids) == ["g3", "g1", "g2"]
    assert (again.queries, again.depth) == (2, 2)
    [(first, ranks, folded)] = again.blocks()
    assert first == 0 and ranks.tolist() == [[0, 1], [2, -1]] and len(folded.query) == 0
    ranks, scores = again.lists([1], 1)
    assert ranks.tolist() == [[2]] and scores[0, 0] == np.float32(0.9)
    assert [decode_ids(ids) for ids in again.searched_ids(rows=3)] == [["g1", "g2", "g3"], ["商品4"]]
    assert again.attributes == ranked.attributes == RankedAttributes("video2goods", 4, "c0ffee", "inner product", 0, 0)


def test_an_id_that_stands_twice_is_refused(tmp_path):
    about = RankedAttributes("video2goods", 2, "c0ffee")
    ranks, scores = np.array([[0, 1]]), np.array([[0.5, 0.5]])

    with pytest.raises(ValueError, match="two documents have the id 'g1'"):
        write_ranked(tmp_path / "ranked.h5", Ids(["v"]), Ids(["g1", "g1"]), encode_ids(["g1", "g1"]), ranks, scores, about)

    assert not (tmp_path / "ranked.h5").exists()


def test_a_file_that_is_not_there_or_no_ranked_list_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"ranked.h5: no such file; evaluate.search writes it"):
        Ranked(tmp_path / "ranked.h5")
    (tmp_path / "ranked.h5").write_text("no")
    with pytest.raises(ValueError, match=r"ranked.h5: not an HDF5 file"):
        Ranked(tmp_path / "ranked.h5")


@pytest.mark.parametrize("block_bytes", [1, 16, 1 << 24])
def test_lists_and_what_was_folded_into_them_come_in_blocks(tmp_path, monkeypatch, block_bytes):
    monkeypatch.setattr(module, "BLOCK_BYTES", block_bytes)
    lists = {f"v{row}": ["a", "b"] if row % 2 else ["b", "a"] for row in range(5)}
    folded = [("v3", "c", "a"), ("v0", "c", "b"), ("v0", "d", "a")]
    ranked = write_lists(tmp_path / "ranked.h5", lists, list("abcd"), folded=folded)

    blocks = list(ranked.blocks())

    np.testing.assert_array_equal(np.concatenate([block.ranks for block in blocks]), ranked.lists(range(5), 2)[0])
    names = ranked.doc_ids.astype(str)
    seen = [
        (block.first + query, names[doc], names[block.ranks[query, place]])
        for block in blocks
        for query, doc, place in zip(block.folded.query.tolist(), block.folded.doc, block.folded.place)
    ]
    assert sorted(seen) == [(0, "c", "b"), (0, "d", "a"), (3, "c", "a")]
    assert names[ranked.folded(3).doc].tolist() == ["c"] and ranked.folded(3).place.tolist() == [0] and len(ranked.folded(1).doc) == 0


def test_labels_of_both_sides_are_kept_with_one_numbering(tmp_path):
    labels = {"category": ({"v1": "Fruit", "v2": None}, {"g1": "Tea", "g2": "Fruit"})}
    ranked = write_lists(tmp_path / "ranked.h5", {"v1": ["g1"], "v2": ["g2"]}, ["g1", "g2", "g3"], labels=labels)

    assert ranked.label_keys() == ["category"] and ranked.label_values("category") == ['"Fruit"', '"Tea"']
    assert ranked.query_label("category").tolist() == [0, -1]
    assert [codes.tolist() for codes in ranked.searched_label("category", rows=2)] == [[1, 0], [-1]]


def test_a_file_of_a_program_without_folding_and_labels_is_read(tmp_path):
    write_lists(tmp_path / "ranked.h5", {"v1": ["g1"]}, ["g1"])
    with h5py.File(tmp_path / "ranked.h5", "r+") as file:
        for name in ("dedup", "only", "queries_only"):
            del file.attrs[name]

    old = Ranked(tmp_path / "ranked.h5")

    assert old.attributes == RankedAttributes("video2goods", 1, "c0ffee") and old.label_keys() == []
