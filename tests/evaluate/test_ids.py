from __future__ import annotations

import numpy as np
import pytest

from evaluate.ids import IdTable, encode_ids, id_hashes


@pytest.mark.parametrize("number", [0, 1, 500])
def test_a_table_finds_what_a_dict_finds(number):
    draw = np.random.default_rng(number)
    texts = [f"{'é' * (row % 3)}{row}" for row in draw.permutation(2 * number)[:number]]
    asked = [f"{'é' * (row % 3)}{row}" for row in draw.integers(0, 2 * number + 1, 300)] + ["a much longer id than any in the table"]

    found = IdTable(encode_ids(texts)).places(encode_ids(asked))

    places = {text: place for place, text in enumerate(texts)}
    assert found.tolist() == [places.get(text, -1) for text in asked]


def test_hashes_of_ids_do_not_depend_on_the_width_that_they_are_padded_to():
    texts = ["g1", "视频 2", "3000000.jpg", "g"]

    narrow, wide = id_hashes(encode_ids(texts)), id_hashes(encode_ids(texts).astype("S40"))

    def mixed(value: int) -> int:
        value = (value + 0x9E3779B97F4A7C15) % 2**64
        value = ((value ^ value >> 30) * 0xBF58476D1CE4E5B9) % 2**64
        value = ((value ^ value >> 27) * 0x94D049BB133111EB) % 2**64
        return value ^ value >> 31

    slow = [mixed(sum(byte * (mixed(place) | 1) for place, byte in enumerate(text.encode(), 1)) % 2**64) for text in texts]
    assert narrow.dtype == np.uint64 and narrow.tolist() == wide.tolist() == slow
    assert len(id_hashes(np.zeros(0, "S1"))) == 0


def test_hashes_differ_and_so_do_their_sums_where_sums_of_characters_agree():
    every = id_hashes(encode_ids(f"{10**6 + row}" for row in range(200_000)))
    one, other = (id_hashes(encode_ids(ids)).sum() for ids in (["a1", "b2"], ["a2", "b1"]))

    assert len(np.unique(every)) == 200_000
    assert one != other
