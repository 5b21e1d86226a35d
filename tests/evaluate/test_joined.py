from __future__ import annotations

import h5py
import numpy as np
import pytest

from evaluate.dump import Dump
from evaluate.ids import decode_ids
from evaluate.joined import Joined
from evaluate.labels import LabelValues
from tests.evaluate.dumps import write_dump


def two_dumps(folder, **changes):
    """Twelve goods in shards of 5 beside two clips, and four goods more; returns (joined goods, their rows)."""
    rows = np.random.default_rng(0).standard_normal((16, 3)).astype(np.float32)
    ids = [f"g{row}" for row in range(16)]
    labels = {name: {"category": "odd" if row % 2 else "even"} for row, name in enumerate(ids)}
    one = write_dump(folder / "one", [("goods", rows[:12], ids[:12]), ("video", rows[:2], ["v0", "v1"])], 5, labels)
    other = write_dump(folder / "other", [("goods", rows[12:], ids[12:])], 5, labels, **changes)
    return Joined([Dump(one), Dump(other)], domain="goods"), rows


def test_dumps_are_one_corpus_in_their_order(tmp_path):
    joined, rows = two_dumps(tmp_path)

    blocks = list(joined.blocks(5))

    assert len(joined) == 16 and [first for first, _ in blocks] == [0, 5, 10, 12]
    np.testing.assert_array_equal(np.concatenate([block for _, block in blocks]), rows)
    some = list(joined.blocks(4, 3, 15))
    assert [first for first, _ in some] == [3, 7, 11, 12]
    np.testing.assert_array_equal(np.concatenate([block for _, block in some]), rows[3:15])
    assert decode_ids(joined.ids()) == [f"g{row}" for row in range(16)]
    assert decode_ids(joined.ids_at(np.array([0, 4, 5, 11, 12, 15]))) == ["g0", "g4", "g5", "g11", "g12", "g15"]
    values = LabelValues()
    codes = np.concatenate(list(joined.label_blocks("category", values)))
    assert joined.label_keys() == ["category"] and [values.texts[code] for code in codes] == ['"even"', '"odd"'] * 8


@pytest.mark.parametrize("wanted", [[3], [0, 4, 5, 11, 12, 15], [7, 7, 7, 7, 7, 7, 7, 12, 12], [], list(range(16))])
def test_any_rows_are_read_by_number(tmp_path, wanted):
    joined, rows = two_dumps(tmp_path)

    pieces = list(joined.at(np.array(wanted, np.int64)))

    assert [first for first, _, _ in pieces] == np.cumsum([0, *[len(places) for _, _, places in pieces]])[:-1].tolist()
    assert all(len(vectors) == len(np.unique(places)) for _, vectors, places in pieces)
    found = np.concatenate([np.zeros((0, 3), np.float32), *[vectors[places] for _, vectors, places in pieces]])
    np.testing.assert_array_equal(found, rows[np.array(wanted, np.int64)])


def test_rows_of_many_stored_chunks_are_read_by_number(tmp_path):
    rows = np.random.default_rng(0).standard_normal((5000, 200)).astype(np.float32)
    dump = Dump(write_dump(tmp_path, [("goods", rows, [f"g{row}" for row in range(5000)])], 3000))
    wanted = np.sort(np.random.default_rng(1).integers(0, 5000, 900))

    pieces = list(Joined([dump]).at(wanted))

    assert len(pieces) == 5  # 1 MiB is 1310 rows: three chunks of 3000 rows, two of 2000
    np.testing.assert_array_equal(np.concatenate([vectors[places] for _, vectors, places in pieces]), rows[wanted])


def test_rows_of_a_shard_that_is_stored_in_one_piece_are_read_by_number(tmp_path):
    rows = np.random.default_rng(0).standard_normal((50, 200)).astype(np.float32)
    dump = Dump(write_dump(tmp_path, [("goods", rows, [f"g{row}" for row in range(50)])], 50))
    with h5py.File(tmp_path / "goods-000000.h5", "r+") as file:
        kept = file["embeddings"][:]
        del file["embeddings"]
        file.create_dataset("embeddings", data=kept)
        assert file["embeddings"].chunks is None

    [(_, vectors, places)] = Joined([dump]).at(np.array([3, 3, 49]))

    np.testing.assert_array_equal(vectors[places], rows[[3, 3, 49]])


def test_a_dump_given_twice_and_an_id_of_two_dumps_are_told_by_name(tmp_path):
    rows = np.ones((3, 4), np.float32)
    sides = {"a": ["g1", "g22", "g3"], "b": ["h1", "g4", "h3"], "c": ["long name", "h1", "k"], "d": ["x", "y", "x"]}
    a, b, c, d = (Dump(write_dump(tmp_path / name, [("goods", rows, ids)], 2)) for name, ids in sides.items())

    Joined([a, b]).require_distinct()
    with pytest.raises(ValueError, match=r"b and .*c both hold the id 'h1'; an item has one vector: leave one dump out"):
        Joined([a, b, c]).require_distinct()
    with pytest.raises(ValueError, match=r"a/\.\./a is given twice; give each dump once"):
        Joined([a, b, Dump(tmp_path / "a" / ".." / "a")]).require_distinct()
    with pytest.raises(ValueError, match=r"d holds the id 'x' twice; an item has one vector"):
        Joined([a, d]).require_distinct()


def test_dumps_of_two_checkpoints_or_widths_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"one was made by checkpoint c0ffee, .*other by decaf"):
        two_dumps(tmp_path, checkpoint="decaf")

    wide = Dump(write_dump(tmp_path / "wide", [("goods", np.ones((2, 9), np.float32), ["a", "b"])]))
    with pytest.raises(ValueError, match=r"one has embeddings of width 3, .*wide of width 9"):
        Joined([Dump(tmp_path / "one"), wide])
