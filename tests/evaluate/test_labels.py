from __future__ import annotations

import h5py
import pytest

from evaluate.labels import LabelValues, Only, label_keys, level_name, write_labels

ROWS = [
    {"category": ["Food", "Fruit"], "brand": "Nami", "rank": 3},
    {"category": ["Food", "Bread"]},
    {},
    {"brand": "Nami", "category": ["Food", "Fruit"], "a/b": None, "": True},
]


def test_labels_come_back_as_one_number_a_row(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["ids"] = [b"1", b"2", b"3", b"4"]
        write_labels(file, ROWS)

        assert label_keys(file) == ["", "a/b", "brand", "category", "rank"]
        values = LabelValues()
        codes = values.codes(file, "category")
        assert [None if code < 0 else values.texts[code] for code in codes] == ['["Food", "Fruit"]', '["Food", "Bread"]', None, '["Food", "Fruit"]']
        assert LabelValues().codes(file, "colour").tolist() == [-1, -1, -1, -1]


def test_two_files_are_numbered_together(tmp_path):
    values = LabelValues()
    codes = []
    for name, brands in (("a", ["x", "y"]), ("b", ["y", "z"])):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["ids"] = [b"1", b"2"]
            write_labels(file, [{"brand": brand} for brand in brands])
            codes.append(values.codes(file, "brand").tolist())

    assert codes == [[0, 1], [1, 2]] and values.texts == ['"x"', '"y"', '"z"']


def test_the_same_labels_give_the_same_bytes(tmp_path):
    for name in "ab":
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            write_labels(file, ROWS)

    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


@pytest.mark.parametrize(
    ("term", "text", "allowed"),
    [
        ("category=Fruit", '["Food", "Fruit", "Apple"]', True),
        ("category=Food", '["Food", "Fruit"]', True),
        ("category=Food/Fruit", '["Food", "Fruit", "Apple"]', True),
        ("category=Fruit/Apple", '["Food", "Fruit", "Apple"]', False),
        ("category=fruit", '["Food", "Fruit"]', False),
        ("brand=Nami", '"Nami"', True),
        ("brand=Nam", '"Nami"', False),
        ("rank=3", "3", True),
        ("sold=true", "true", True),
        ("note=a=b", '"a=b"', True),
        ("brand=抹茶", '"\\u62b9\\u8336"', True),
    ],
)
def test_a_filter_names_a_value_a_level_or_the_first_levels(term, text, allowed):
    assert Only.parse([term]).allows(term.partition("=")[0], text) is allowed


def test_several_values_of_one_label_mean_any_of_them():
    only = Only.parse(["category=Fruit", "brand=Nami", "category=Tea"])

    assert only.allows("category", '["Tea"]') and only.allows("category", '["Fruit"]') and not only.allows("category", '["Nami"]')
    assert str(only) == "category=Fruit category=Tea brand=Nami"
    assert only and not Only.parse([])


@pytest.mark.parametrize("term", ["category", "category=", "=Fruit"])
def test_a_term_that_is_no_filter_is_shown(term):
    with pytest.raises(ValueError, match=f"'{term}' is no filter: give LABEL=VALUE"):
        Only.parse([term])


def test_a_level_has_a_name_for_people():
    assert level_name('["Food", "Fruit", "Apple"]', 1) == "Food"
    assert level_name('["Food", "Fruit", "Apple"]', 2) == "Food / Fruit"
    assert level_name('["Food"]', 2) == "Food"
    assert level_name("7", 1) == "7"
    assert level_name("[]", 1) is None and level_name('""', 1) is None
