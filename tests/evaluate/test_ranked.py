from __future__ import annotations

import h5py
import numpy as np
import pytest

from evaluate import ranked as module
from evaluate.ids import decode_ids, encode_ids
from evaluate.judging.ground_truth import GroundTruth
from evaluate.judging.judged import judge
from evaluate.judging.judged_file import judged_of, write_judged
from evaluate.ranked import Ranked, RankedAttributes, reordered, write_ranked
from tests.evaluate.dumps import Ids, write_dump, write_lists


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
    assert again.attributes == ranked.attributes == RankedAttributes("video2goods", 4, "c0ffee", "inner product", 0, 0, lists=again.attributes.lists)


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


def test_a_folded_document_goes_where_the_one_that_stands_for_it_goes(tmp_path):
    lists = {"q": ["a", "b", "c"], "r": ["c", "a", "b"], "s": ["b", "c", "a"]}
    ranked = write_lists(tmp_path / "ranked.h5", lists, "abcdef", folded=[("q", "d", "a"), ("q", "e", "c"), ("s", "d", "b"), ("s", "f", "b")])
    names = decode_ids(ranked.doc_ids)
    ranks = np.array([[names.index(name) for name in own] for own in ("ca", "ba", "cb")])

    again = reordered(ranked, tmp_path / "again.h5", ranks, np.zeros(ranks.shape, np.float32), "pair score")

    found = [(row, names[doc], int(place)) for row in range(3) for _, doc, place in zip(*again.folded(row))]
    assert sorted(found) == [(0, "d", 1), (0, "e", 0), (2, "d", 1), (2, "f", 1)]
    gone = reordered(ranked, tmp_path / "gone.h5", ranks[:, 1:], np.zeros((3, 1), np.float32), "pair score")
    assert [len(gone.folded(row).doc) for row in range(3)] == [1, 0, 2]


def test_labels_of_both_sides_are_kept_with_one_numbering(tmp_path):
    labels = {"category": ({"v1": "Fruit", "v2": None}, {"g1": "Tea", "g2": "Fruit"})}
    ranked = write_lists(tmp_path / "ranked.h5", {"v1": ["g1"], "v2": ["g2"]}, ["g1", "g2", "g3"], labels=labels)

    assert ranked.label_keys() == ["category"] and ranked.label_values("category") == ['"Fruit"', '"Tea"']
    assert ranked.query_label("category").tolist() == [0, -1]
    assert [codes.tolist() for codes in ranked.searched_label("category", rows=2)] == [[1, 0], [-1]]


def test_a_file_of_a_program_without_folding_and_labels_is_read(tmp_path):
    write_lists(tmp_path / "ranked.h5", {"v1": ["g1"]}, ["g1"])
    with h5py.File(tmp_path / "ranked.h5", "r+") as file:
        for name in ("dedup", "only", "queries_only", "lists"):
            del file.attrs[name]

    old = Ranked(tmp_path / "ranked.h5")

    assert old.attributes == RankedAttributes("video2goods", 1, "c0ffee") and old.label_keys() == []


def test_hdf5_files_of_other_programs_are_told_from_lists_in_one_line(tmp_path):
    write_dump(tmp_path / "dump", [("goods", np.eye(4), list("abcd"))])
    ranked = write_lists(tmp_path / "ranked.h5", {"v1": ["g1", "g2"]}, ["g1", "g2"])
    write_judged(tmp_path / "judged.h5", judged_of(ranked, judge(ranked, GroundTruth.of_pairs([("v1", ["g1"])])), ""))

    for file, missing in (("dump/goods-000000.h5", "query_ids"), ("judged.h5", "doc_ids")):
        with pytest.raises(ValueError, match=f"{file}: not what evaluate.search writes: it has no {missing}; give its ranked.h5"):
            Ranked(tmp_path / file)
    with h5py.File(ranked.path, "r+") as file:
        del file.attrs["task"]
    with pytest.raises(ValueError, match=r"ranked.h5: not what evaluate.search writes: it has no attribute task; give its ranked.h5"):
        Ranked(ranked.path)
    with h5py.File(ranked.path, "r+") as file:
        file.attrs["task"] = "video2goods"
        del file["scores"]
        file["scores"] = np.zeros((1, 3), np.float32)
    with pytest.raises(ValueError, match=r"the shapes query_ids \[1\], ranks \[1, 2\], scores \[1, 3\] do not fit; search again"):
        Ranked(ranked.path)


def test_the_checksum_of_lists_changes_with_every_part_of_them_and_with_nothing_else(tmp_path, monkeypatch):
    whole = write_lists(tmp_path / "ranked.h5", {"v1": ["g3", "g1"], "v2": ["g1", "g3"]}, ["g1", "g2", "g3"])
    ranks, scores = whole.lists([0, 1], 2)

    def checksum(ranks: np.ndarray, scores: np.ndarray) -> str:
        return reordered(whole, tmp_path / "again.h5", ranks, scores, "pair score").attributes.lists

    others = {
        checksum(ranks[::-1], scores),
        checksum(ranks, scores[:, ::-1]),
        write_lists(tmp_path / "queries.h5", {"v1": ["g3", "g1"], "v3": ["g1", "g3"]}, ["g1", "g2", "g3"]).attributes.lists,
        write_lists(tmp_path / "docs.h5", {"v1": ["g2", "g1"], "v2": ["g1", "g2"]}, ["g1", "g2", "g3"]).attributes.lists,
    }
    monkeypatch.setattr(module, "BLOCK_BYTES", 8)
    assert whole.attributes.lists == checksum(ranks.astype(np.int64), scores.astype(np.float64)) != ""
    assert len(others | {whole.attributes.lists}) == 5
