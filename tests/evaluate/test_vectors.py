from __future__ import annotations

import numpy as np
import pytest

from evaluate.dump import Dump
from evaluate.ids import decode_ids
from evaluate.labels import LabelValues, Only
from evaluate.vectors import Chosen
from tests.evaluate.dumps import write_dump

ROWS = np.arange(120, dtype=np.float32).reshape(30, 4)
IDS = [f"g{row}" for row in range(30)]
LABELS = {
    f"g{row}": {"category": ["Food", "Fruit" if row % 3 else "Bread"], **({"brand": "Nami"} if row % 2 else {})} for row in range(30) if row != 7
}


@pytest.fixture
def side(tmp_path):
    """Thirty goods in five shards: ten of bread, the others of fruit, odd ones of a brand, g7 without labels."""
    return Dump(write_dump(tmp_path / "dump", [("goods", ROWS, IDS)], shard_rows=7, labels=LABELS)).side()


def slowly(**wanted):
    """Rows that have these labels, by looking at each."""
    return [row for row in range(30) if f"g{row}" in LABELS and all(value in LABELS[f"g{row}"].get(key, ()) for key, value in wanted.items())]


@pytest.mark.parametrize("rows_per_block", [1, 4, 100])
def test_a_filter_leaves_exactly_the_rows_with_the_labels(side, rows_per_block):
    chosen = Chosen(side, Only.parse(["category=Fruit", "brand=Nami"]))

    blocks = list(chosen.blocks(rows_per_block))

    wanted = slowly(category="Fruit", brand="Nami")
    assert len(chosen) == len(wanted) == 9
    np.testing.assert_array_equal(np.concatenate([block for _, block in blocks]), ROWS[wanted])
    assert [first for first, _ in blocks] == np.cumsum([0] + [len(block) for _, block in blocks])[:-1].tolist()
    assert decode_ids(chosen.ids()) == [IDS[row] for row in wanted]
    assert decode_ids(chosen.ids_at(np.array([0, 3, 8]))) == [IDS[wanted[place]] for place in (0, 3, 8)]


def test_labels_pass_through_a_filter(side):
    values = LabelValues()

    codes = np.concatenate(list(Chosen(side, Only.parse(["brand=Nami"])).label_blocks("category", values)))

    assert [values.texts[code] for code in codes] == ['["Food", "Fruit"]' if row % 3 else '["Food", "Bread"]' for row in slowly(brand="Nami")]


def test_a_filter_that_nothing_passes_shows_what_there_is(side):
    with pytest.raises(
        ValueError, match=r'none of 30 items passes the filter category=Fruits; category is \["Food", "Bread"\], \["Food", "Fruit"\]$'
    ):
        Chosen(side, Only.parse(["category=Fruits"]))


def test_a_filter_by_a_label_that_is_not_there_names_those_that_are(side, tmp_path):
    with pytest.raises(ValueError, match=r"dump: the filter colour=red needs the label colour; its labels are brand, category"):
        Chosen(side, Only.parse(["colour=red"]))
    plain = Dump(write_dump(tmp_path / "plain", [("goods", ROWS, IDS)])).side()
    with pytest.raises(ValueError, match="it holds no labels; embed it into another folder"):
        Chosen(plain, Only.parse(["colour=red"]))
