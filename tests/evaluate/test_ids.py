from __future__ import annotations

import numpy as np
import pytest

from evaluate.ids import IdTable, encode_ids


@pytest.mark.parametrize("number", [0, 1, 500])
def test_a_table_finds_what_a_dict_finds(number):
    draw = np.random.default_rng(number)
    texts = [f"{'é' * (row % 3)}{row}" for row in draw.permutation(2 * number)[:number]]
    asked = [f"{'é' * (row % 3)}{row}" for row in draw.integers(0, 2 * number + 1, 300)] + ["a much longer id than any in the table"]

    found = IdTable(encode_ids(texts)).places(encode_ids(asked))

    places = {text: place for place, text in enumerate(texts)}
    assert found.tolist() == [places.get(text, -1) for text in asked]
