"""Names of categories of the MVS layout."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from pipeline.sources import Entry
from pipeline.sources.mvs import MVS
from tests.pipeline.corpora import write_files
from tests.pipeline.mvs_pairs import POT, RYE, items, listed, named, pair, with_tree, write_mvs


def test_names_come_from_the_tree_as_it_is_walked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with_tree(write_mvs(tmp_path, [pair(0, POT), pair(1, RYE)]))

    assert named(tmp_path) == [["Home", "Tea", "Pot"], ["Food", "Bread", "Rye"]]
    assert capsys.readouterr().out == ""


def test_where_the_walk_does_not_fit_the_order_among_siblings_names_what_is_all_seen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Level 2 is numbered by name: Bread 0, Kettles 1, Tea 2. Level 3 has Home's first, of which one is seen.
    food = {
        "name": "Food",
        "children": [{"name": "Bread", "children": [{"name": "Rye"}, {"name": "Spelt"}]}, {"name": "Tea", "children": [{"name": "Oolong"}]}],
    }
    home = {"name": "Home", "children": [{"name": "Kettles", "children": [{"name": "Iron"}, {"name": "Steel"}]}]}
    paths = [(0, 0, 2), (0, 0, 3), (0, 2, 4), (1, 1, 0)]
    write_mvs(tmp_path, [pair(number, path) for number, path in enumerate(paths)])
    with_tree(tmp_path, {"name": "all", "children": [food, home]})

    assert named(tmp_path) == [["Food", "Bread", "Rye"], ["Food", "Bread", "Spelt"], ["Food", "Tea", "Oolong"], ["Home", "Kettles", "0"]]
    said = capsys.readouterr().out
    by_siblings = "of MVS_train_dataset.pkl is not numbered as the ontology is walked: it has names by the order among siblings"
    assert f"second_cluster {by_siblings}\n" in said
    assert f"third_cluster {by_siblings}, and 1 categories that this does not tell go by their numbers\n" in said


def test_a_level_of_another_width_goes_by_its_numbers_and_it_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    widths = (2, 3, 7)
    with_tree(write_mvs(tmp_path, [pair(0, (0, 0, 6), widths), pair(1, (1, 2, 1), widths)]), name="flare-2.json")
    write_mvs(tmp_path, [pair(3, (0, 1, 5), widths)], "val")
    source = MVS(tmp_path)

    names = [entry.labels["category"] for split in source.splits() for entry in source.entries(split) if isinstance(entry, Entry)]

    assert names[::2] == [["Food", "Fruit", "6"], ["Home", "Tea", "1"], ["Food", "Bread", "5"]]
    told = f"{tmp_path / 'flare-2.json'}: third_cluster of MVS_train_dataset.pkl has 7 categories, the ontology has 5: they go by their numbers\n"
    assert capsys.readouterr().out == told


def test_a_category_below_two_others_leaves_its_level_unnamed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with_tree(write_mvs(tmp_path, [pair(0, (0, 0, 0)), pair(1, (1, 0, 0))]))

    assert named(tmp_path) == [["Food", "0", "0"], ["Home", "0", "0"]]
    assert "second_cluster of MVS_train_dataset.pkl has categories that lie below several others: they go by their numbers" in capsys.readouterr().out


def test_the_names_of_all_splits_are_those_that_train_tells(tmp_path: Path) -> None:
    # Alone, val's one pair would be taken for walked: Food, Fruit, Kiwi. In train, Home comes first at level 2 and so does Kettle at level 3.
    path = [(0, 1, 2), (0, 1, 3), (0, 2, 4), (1, 0, 0), (1, 0, 1)]
    with_tree(write_mvs(tmp_path, [pair(number, one) for number, one in enumerate(path)]))
    write_mvs(tmp_path, [pair(9, (0, 1, 2))], "val")

    assert named(tmp_path, "val") == [["Food", "Fruit", "Kiwi"]]
    assert [path.name for path in MVS(tmp_path).list_files("val")] == ["MVS_val_dataset.pkl", "ontology.json", "MVS_train_dataset.pkl"]


@pytest.mark.parametrize(
    "tree",
    ["[1, 2", "[]", '{"name": "all"}', '{"name": "a", "children": [{"name": 5}]}', '{"name": "a", "children": [{"name": "b", "children": 5}]}'],
)
def test_an_ontology_that_is_no_tree_is_an_error(tmp_path: Path, tree: str) -> None:
    write_files(write_mvs(tmp_path, [pair(0)]), {"ontology.json": tree})

    with pytest.raises(ValueError, match=r"ontology\.json: (not an ontology in tree form|a category of level 1, below 'a', has no name)"):
        listed(tmp_path)


def test_other_json_files_are_the_ontology_where_one_is_in_tree_form(tmp_path: Path) -> None:
    write_files(write_mvs(tmp_path, [pair(0, POT)]), {"settings.json": '{"name": "mine"}', "broken.json": "{"})
    assert named(tmp_path) == [["1", "2", "4"]]

    with_tree(tmp_path, name="names.json")
    assert named(tmp_path) == [["Home", "Tea", "Pot"]]

    with_tree(tmp_path, name="others.json")
    with pytest.raises(ValueError, match=r"names\.json, others\.json could each be the ontology; name it ontology\.json"):
        listed(tmp_path)


def test_the_categories_of_the_grocery_features_have_the_names_that_they_have_elsewhere(test_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The tree's walk does not fit these numbers; the order among siblings does, and gives every name of the same goods in the other layout."""
    goods = test_data / "data/grocery/goods/text"
    texts = [file.read_text().splitlines() for file in goods.rglob("*.txt")]
    expected = Counter((*text[1].split("/"), text[4]) for text in texts)

    found = Counter(tuple(item.labels["category"]) for item in items(test_data / "data/grocery_mvs").values() if item.domain == "goods")

    assert found == expected and len(found) == 81
    assert capsys.readouterr().out.count("names by the order among siblings\n") == 2
