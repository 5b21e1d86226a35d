from __future__ import annotations

import re
from pathlib import Path

import h5py
import numpy as np
import pytest

from evaluate.dump import Dump
from evaluate.dumps.verify import verify
from evaluate.embeddings import finish_dump, write_dump_shard
from evaluate.ids import decode_ids
from evaluate.labels import LabelValues
from tests.evaluate.dumps import attributes, write_dump


@pytest.mark.parametrize("rows_per_block", [1, 5, 7, 8, 30, 100])
def test_blocks_have_their_size_whatever_the_shards_are(tmp_path, rows_per_block):
    rows = np.arange(120, dtype=np.float32).reshape(30, 4)
    write_dump(tmp_path, [("goods", rows, [str(row) for row in range(30)])], shard_rows=7)

    blocks = list(Dump(tmp_path).blocks(rows_per_block=rows_per_block))

    assert [first for first, _ in blocks] == list(range(0, 30, rows_per_block))
    assert all(len(block) == rows_per_block for _, block in blocks[:-1])
    np.testing.assert_array_equal(np.concatenate([block for _, block in blocks]), rows)


def test_rows_are_chosen_by_role_and_domain(tmp_path):
    rows = np.arange(24, dtype=np.float32).reshape(6, 4)
    sides = [("goods.query", rows[:2], ["q1", "q2"]), ("goods.document", rows[2:4], ["d1", "d2"]), ("video", rows[4:], ["v1", "v2"])]
    dump = Dump(write_dump(tmp_path, sides))

    assert decode_ids(dump.ids(("both", "query"), "goods")) == ["q1", "q2"]
    assert decode_ids(dump.ids(("both", "document"), "goods")) == ["d1", "d2"]
    assert decode_ids(dump.ids(("both", "query"))) == ["q1", "q2", "v1", "v2"]
    np.testing.assert_array_equal(next(dump.blocks(("both", "document"), domain="goods"))[1], rows[2:4])
    assert dump.count(("both", "document")) == 4
    with pytest.raises(ValueError, match="holds the domains goods, video"):
        _ = dump.domain


def test_ids_of_single_rows_are_found(tmp_path):
    dump = Dump(write_dump(tmp_path, [("goods", np.zeros((20, 4)), [f"id{row}" for row in range(20)])], shard_rows=6))

    assert decode_ids(dump.side().ids_at(np.array([0, 5, 6, 17, 19]))) == ["id0", "id5", "id6", "id17", "id19"]
    assert decode_ids(dump.side().ids_at(np.array([], np.int64))) == []


def test_an_embedding_that_is_not_finite_is_named(tmp_path):
    write_dump(tmp_path, [("goods", np.zeros((20, 4)), [f"id{row}" for row in range(20)])], shard_rows=6)
    with h5py.File(tmp_path / "goods-000002.h5", "r+") as file:
        file["embeddings"][3, 1] = np.inf

    with pytest.raises(ValueError, match=r"goods-000002.h5: the embedding of row 3 \('id15'\) is not finite"):
        list(Dump(tmp_path).blocks())


def restore(path: Path, rows: np.ndarray, **how: object) -> None:
    """Put `rows` in the place of the shard's embeddings, as another program might."""
    with h5py.File(path, "r+") as file:
        del file["embeddings"]
        file.create_dataset("embeddings", data=rows, **how)


@pytest.mark.parametrize("how", [{}, {"chunks": (3, 2)}, {"chunks": (5, 4), "compression": "gzip"}], ids=["in one piece", "in squares", "compressed"])
def test_rows_that_another_program_stored_its_way_are_read(tmp_path, how):
    rows = np.arange(80, dtype=np.float32).reshape(20, 4)
    write_dump(tmp_path, [("goods", rows, [str(row) for row in range(20)])], shard_rows=20)
    restore(tmp_path / "goods-000000.h5", rows, **how)

    blocks = list(Dump(tmp_path).blocks(rows_per_block=7))
    finish_dump(tmp_path, ["goods-000000"])

    np.testing.assert_array_equal(np.concatenate([block for _, block in blocks]), rows)
    assert verify(tmp_path, quiet=True).rows == 20
    with h5py.File(tmp_path / "all.h5", "r") as file:
        np.testing.assert_array_equal(file["embeddings"][:], rows)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (np.zeros((2, 3), np.float32), r"embeddings float32 of shape \[2, 3\] and ids \|S1, where its attributes say float32 of width 4"),
        (np.zeros((2, 4), np.float64), r"embeddings float64 of shape \[2, 4\] .* float32 of width 4"),
        (np.zeros((2, 4, 1), np.float32), r"of shape \[2, 4, 1\]"),
        (np.zeros(2, np.float32), r"of shape \[2\]"),
        (np.float32(3), "not a whole shard of a dump"),
    ],
)
def test_embeddings_that_are_not_as_their_shard_says_are_named(tmp_path, rows, said):
    dump = Dump(write_dump(tmp_path, [("goods", np.zeros((2, 4)), ["a", "b"])]))
    restore(tmp_path / "goods-000000.h5", rows)

    with pytest.raises(ValueError, match=rf"goods-000000.h5: .*{said}"):
        list(dump.blocks())
    with pytest.raises(ValueError, match=rf"goods-000000.h5: .*{said}"):
        finish_dump(tmp_path, ["goods-000000"])
    assert any(re.search(said, problem) for problem in verify(tmp_path, quiet=True).problems)


def test_a_group_or_numbers_in_place_of_the_ids_are_named(tmp_path):
    dump = Dump(write_dump(tmp_path, [("goods", np.zeros((2, 4)), ["a", "b"])]))

    for put in (lambda file: file.create_group("ids"), lambda file: file.create_dataset("ids", data=[1, 2])):
        with h5py.File(tmp_path / "goods-000000.h5", "r+") as file:
            del file["ids"]
            put(file)
        with pytest.raises(ValueError, match=r"goods-000000.h5: "):
            dump.ids()


def test_a_shard_of_another_checkpoint_put_in_later_is_noticed(tmp_path):
    write_dump(tmp_path, [("goods", np.zeros((2, 4)), ["a", "b"])])
    dump = Dump(tmp_path)
    write_dump_shard(tmp_path / "goods-000000.h5", np.zeros((2, 4)), ["a", "b"], attributes(checkpoint="decaf"))

    with pytest.raises(ValueError, match=r"checkpoint decaf.*has c0ffee"):
        list(dump.blocks())


def test_labels_of_a_side_are_those_of_its_shards(tmp_path):
    rows, labels = np.zeros((2, 4)), {"a": {"brand": "Nami"}, "c": {"category": ["Tea"]}}
    dump = Dump(write_dump(tmp_path, [("goods", rows, ["a", "b"]), ("video", rows, ["c", "d"])], labels=labels))

    values = LabelValues()

    assert dump.side(domain="goods").label_keys() == ["brand"] and dump.side().label_keys() == ["brand", "category"]
    assert [codes.tolist() for codes in dump.side().label_blocks("category", values)] == [[-1, -1], [0, -1]]
    assert values.texts == ['["Tea"]']
