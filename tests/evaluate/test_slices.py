"""A part of the vectors, as a rank reads its own: the same rows, whatever holds them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from evaluate.dump import Dump
from evaluate.dumps.array import ArrayVectors
from evaluate.labels import Only
from evaluate.ranks import Ranks
from evaluate.vectors import Chosen, Vectors
from tests.evaluate.dumps import write_dump

ROWS = np.random.default_rng(0).standard_normal((40, 3)).astype(np.float32)
FRUIT = [row for row in range(40) if row % 3]


@pytest.fixture(scope="module", params=["dump", "array", "chosen"])
def vectors(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Vectors, np.ndarray]:
    folder: Path = tmp_path_factory.mktemp(request.param)
    ids = [f"g{row}" for row in range(40)]
    if request.param == "array":
        np.save(folder / "goods.npy", ROWS)
        (folder / "goods.ids.txt").write_text("".join(f"{name}\n" for name in ids))
        return ArrayVectors(folder / "goods.npy"), ROWS
    labels = {f"g{row}": {"category": "Fruit" if row % 3 else "Bread"} for row in range(40)}
    side = Dump(write_dump(folder, [("goods", ROWS, ids)], labels=labels)).side()
    return (side, ROWS) if request.param == "dump" else (Chosen(side, Only.parse(["category=Fruit"])), ROWS[FRUIT])


@pytest.mark.parametrize("rows_per_block", [4, 7, 100])
@pytest.mark.parametrize("bounds", [(0, 40), (0, 0), (3, 4), (6, 21), (7, 14), (25, 26), (26, 26)], ids=str)
def test_a_part_is_those_rows_in_blocks(vectors, bounds, rows_per_block):
    whole, rows = vectors
    first, last = (min(bound, len(rows)) for bound in bounds)

    blocks = list(whole.blocks(rows_per_block, first, last))

    assert all(len(block) <= rows_per_block for _, block in blocks)
    assert [start for start, _ in blocks] == (first + np.cumsum([0, *[len(block) for _, block in blocks]])[:-1]).tolist()
    np.testing.assert_array_equal(np.concatenate([rows[:0], *[block for _, block in blocks]]), rows[first:last])


@pytest.mark.parametrize("number", [0, 1, 3, 10, 1001])
def test_ranks_slices_are_all_documents_once_and_differ_by_one_at_most(number):
    edges = []
    for rank in range(4):
        ranks = Ranks()
        ranks.rank, ranks.size = rank, 4  # type: ignore[misc]
        edges.append(ranks.slice(number))

    assert edges[0][0] == 0 and edges[-1][1] == number
    assert [last for _, last in edges[:-1]] == [first for first, _ in edges[1:]]
    sizes = [last - first for first, last in edges]
    assert max(sizes) - min(sizes) <= 1
