"""The reader of the MVS layout (MQMC), from pickles to a packed split."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.item import Item, Query
from pipeline.pack import pack
from pipeline.packing.members import members_of
from pipeline.shards import ShardSet
from pipeline.sources import BadItem, Entry, Rejected, open_source
from pipeline.sources.mvs import MVS
from tests.pipeline.corpora import write_files
from tests.pipeline.packed import content, ids, rejected

ROOT = Path(__file__).resolve().parents[2]

TREE = {
    "name": "all",
    "children": [
        {
            "name": "Food",
            "children": [{"name": "Fruit", "children": [{"name": "Kiwi"}, {"name": "Lime"}]}, {"name": "Bread", "children": [{"name": "Rye"}]}],
        },
        {"name": "Home", "children": [{"name": "Tea", "children": [{"name": "Kettle"}, {"name": "Pot"}]}]},
    ],
}
"""2, 3 and 5 categories; walked: Food, Home; Fruit, Bread, Tea; Kiwi, Lime, Rye, Kettle, Pot."""

WIDTHS = (2, 3, 5)
KIWI, LIME, RYE, KETTLE, POT = (0, 0, 0), (0, 0, 1), (0, 1, 2), (1, 2, 3), (1, 2, 4)


def hot(place: int, width: int) -> np.ndarray:
    return np.eye(width, dtype=np.float32)[place]


def pair(
    number: int, category: tuple[int, int, int] = KIWI, widths: tuple[int, ...] = WIDTHS, product: int | None = None, **changed: Any
) -> dict[str, Any]:
    """A pair of a clip and its product whose numbers follow from `number`, or those of the product from `product`; `changed` keys last."""
    clip, good = np.random.default_rng(number), np.random.default_rng((1, number if product is None else product))
    value: dict[str, Any] = {
        "video": clip.normal(size=(1, 6)).astype(np.float32),
        "img": good.normal(size=5).astype(np.float32),
        "videotext": clip.normal(size=4).astype(np.float32),
        "imgtext": good.normal(size=4).astype(np.float32),
        "queue_index": np.int64(category[1]),
    }
    for key, place, width in zip(("first_cluster", "second_cluster", "third_cluster"), category, widths):
        value[key] = hot(place, width)
    return value | changed


def write_mvs(root: Path, pairs: list[Any], split: str = "train", family: str = "MVS", protocol: int = 4) -> Path:
    """Write the file of a split, and return the corpus' root."""
    return write_files(root, {f"{family}_{split}_dataset.pkl": pickle.dumps(pairs, protocol)})


def listed(root: Path, split: str = "train") -> list[Entry | Rejected]:
    return list(MVS(root).entries(split))


def items(root: Path, split: str = "train") -> dict[str, Item]:
    """The items of a split by id, in their order."""
    source = MVS(root)
    return {entry.id: source.read(entry) for entry in source.entries(split) if isinstance(entry, Entry)}


def test_a_pair_is_a_product_and_its_clip_that_share_a_query(tmp_path: Path) -> None:
    written = pair(0, RYE)
    write_mvs(tmp_path, [written])

    product, clip = items(tmp_path).values()

    assert (product.id, product.domain, clip.id, clip.domain) == ("p0", "goods", "v0", "video")
    assert product.queries == clip.queries == (Query(-1, "p0"),)
    assert (product.words, product.media, product.role) == ({}, (), "both")
    np.testing.assert_array_equal(product.features["vision"], written["img"], strict=True)
    np.testing.assert_array_equal(product.features["words"], written["imgtext"], strict=True)
    np.testing.assert_array_equal(clip.features["vision"], written["video"][0], strict=True)
    np.testing.assert_array_equal(clip.features["words"], written["videotext"], strict=True)
    assert product.labels == clip.labels == {"category": ["0", "1", "2"], "category_ids": [0, 1, 2]}


def test_tensors_are_read_as_arrays_are(tmp_path: Path) -> None:
    arrays = [pair(0), pair(1, POT)]
    tensors = [{key: torch.from_numpy(np.asarray(value)) for key, value in one.items()} for one in arrays]
    write_mvs(tmp_path / "arrays", arrays)
    write_mvs(tmp_path / "tensors", tensors, protocol=2)

    from_arrays, from_tensors = items(tmp_path / "arrays"), items(tmp_path / "tensors")

    assert list(from_tensors) == ["p0", "v0", "p1", "v1"]
    for id, item in from_tensors.items():
        assert item.labels == from_arrays[id].labels
        for name in ("vision", "words"):
            np.testing.assert_array_equal(item.features[name], from_arrays[id].features[name], strict=True)


def test_a_clips_frames_stay_apart_and_other_numbers_become_float32(tmp_path: Path) -> None:
    frames = np.arange(18.0).reshape(3, 6)
    changed = {"video": frames, "img": np.arange(5), "imgtext": np.ones((1, 4), np.float16)}
    write_mvs(tmp_path, [pair(0, **changed), pair(1, video=np.arange(6.0))])

    found = items(tmp_path)

    np.testing.assert_array_equal(found["v0"].features["vision"], frames.astype(np.float32), strict=True)
    np.testing.assert_array_equal(found["p0"].features["vision"], np.arange(5, dtype=np.float32), strict=True)
    np.testing.assert_array_equal(found["p0"].features["words"], np.ones(4, np.float32), strict=True)
    np.testing.assert_array_equal(found["v1"].features["vision"], np.arange(6, dtype=np.float32), strict=True)


def test_products_that_are_equal_row_for_row_are_one_and_relevant_to_each_of_their_clips(tmp_path: Path) -> None:
    half = pair(4, product=0)["imgtext"] / 2  # the same photo with other words is another product
    pairs = [pair(0), pair(1, product=1), pair(2, product=0), pair(3, product=1), pair(4, product=0, imgtext=half)]
    doubled = pair(5, product=0)
    pairs.append(doubled | {"img": doubled["img"].astype(np.float64)})  # equal once it is float32
    write_mvs(tmp_path / "corpus", pairs, "val")

    found = listed(tmp_path / "corpus", "val")
    folder = pack(tmp_path / "corpus", tmp_path / "shards", workers=1)["val"]

    assert [entry.id for entry in found] == ["p0", "v0", "p1", "v1", "v2", "v3", "p4", "v4", "v5"]
    truth = {task: (folder / f"ground_truth/{task}.tsv").read_text() for task in ("video2goods", "goods2video")}
    assert truth["video2goods"] == "v0\tp0\nv1\tp1\nv2\tp0\nv3\tp1\nv4\tp4\nv5\tp0\n"
    assert truth["goods2video"] == "p0\tv0,v2,v5\np1\tv1,v3\np4\tv4\n"


def test_equal_products_of_two_categories_keep_the_first_and_it_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_mvs(tmp_path, [pair(0, KIWI), pair(1, POT, product=0)])

    found = items(tmp_path)

    assert (found["p0"].labels["category_ids"], found["v1"].labels["category_ids"]) == ([0, 0, 0], [1, 2, 4])
    said = "1 clips have another category than their product has from an element before, e.g. element 1 has [1, 2, 4], element 0 [0, 0, 0]"
    assert said in capsys.readouterr().out


def test_a_vector_of_zeros_alone_is_absent_and_has_no_member(tmp_path: Path) -> None:
    none = np.zeros(4, np.float32)
    write_mvs(tmp_path, [pair(0, videotext=none, img=np.zeros(5)), pair(1, imgtext=-none)])

    found = items(tmp_path)

    assert {id: set(item.features) for id, item in found.items()} == {
        "p0": {"words"},
        "v0": {"vision"},
        "p1": {"vision"},
        "v1": {"vision", "words"},
    }
    assert [suffix for suffix, _ in members_of(found["v0"], tmp_path, None)] == ["json", "vision.npy"]


def test_an_item_with_neither_is_rejected_with_its_place(tmp_path: Path) -> None:
    empty_clip, empty_product = {"video": np.zeros((1, 6)), "videotext": np.zeros(4)}, {"img": np.zeros(5), "imgtext": np.zeros(4)}
    write_mvs(tmp_path / "corpus", [pair(0), pair(1, **empty_clip), pair(2, **empty_product)], "val")

    folder = pack(tmp_path / "corpus", tmp_path / "shards", workers=1)["val"]

    file = "MVS_val_dataset.pkl"
    assert rejected(folder) == [
        ("p2", file, "element 2: img and imgtext are zeros alone: nothing is there"),
        ("v2", file, "element 2: its product is left out: img and imgtext are zeros alone: nothing is there"),
        ("v1", file, "element 1: video and videotext are zeros alone: nothing is there"),
    ]
    shards = ShardSet(folder)
    assert (ids(shards, "goods"), ids(shards, "video")) == (["p0", "p1"], ["v0"])
    assert (folder / "ground_truth/video2goods.tsv").read_text() == "v0\tp0\n"


@pytest.mark.parametrize(
    ("element", "reason"),
    [
        (7, "is a number, not a dict"),
        ([1], "is a list, not a dict"),
        ({"video": np.ones(6)}, "lacks videotext, img, imgtext, first_cluster, second_cluster, third_cluster, queue_index; it has video"),
        (pair(1, video=[1.0, 2.0]), "video is a list; wanted an array or a tensor"),
        (pair(1, img=None), "img is nothing; wanted an array or a tensor"),
        (pair(1, video=np.ones((2, 2, 6))), "video has shape [2, 2, 6]; wanted [C] or [frames, C]"),
        (pair(1, video=np.ones((0, 6))), "video has shape [0, 6]; wanted [C] or [frames, C]"),
        (pair(1, imgtext=np.ones((2, 4))), "imgtext has shape [2, 4]; wanted [C]"),
        (pair(1, img=np.array(1.0)), "img has shape []; wanted [C]"),
        (pair(1, video=np.ones((3, 7))), "video has 7 numbers, in the elements before 6"),
        (pair(1, imgtext=np.ones(3)), "imgtext has 3 numbers, in the elements before 4"),
        (pair(1, third_cluster=hot(0, 6)), "third_cluster has 6 numbers, in the elements before 5"),
        (pair(1, first_cluster=np.zeros(2)), "first_cluster is not one-hot: 0 of its 2 numbers are not 0, the largest is 0.0"),
        (pair(1, first_cluster=np.ones(2)), "first_cluster is not one-hot: 2 of its 2 numbers are not 0"),
        (pair(1, third_cluster=hot(0, 5) / 2), "third_cluster is not one-hot: 1 of its 5 numbers are not 0, the largest is 0.5"),
        (pair(1, second_cluster=np.array([np.nan, 0, 0])), "second_cluster is not one-hot"),
        (pair(1, second_cluster="Fruit"), "second_cluster is text; wanted numbers, [n]"),
        (pair(1, second_cluster=np.ones((2, 3))), "second_cluster is an array of shape [2, 3]; wanted numbers, [n]"),
        (pair(1, queue_index=2), "queue_index is 2, second_cluster is category 0"),
        (pair(1, queue_index=hot(1, 3)), "queue_index is 1, second_cluster is category 0"),
        (pair(1, queue_index=hot(0, 2)), "queue_index has 2 numbers; wanted one, or one for each of the 3 categories of second_cluster"),
        (pair(1, queue_index=None), "queue_index is nothing; wanted numbers, [n]"),
        (pair(1, img=np.array([1, np.nan, np.inf, 0, 0])), "its product is left out: img has 2 numbers of 5 that are not finite in float32"),
        (pair(1, imgtext=np.full(4, 1e300)), "its product is left out: imgtext has 4 numbers of 4 that are not finite in float32"),
    ],
)
def test_a_pair_that_does_not_fit_is_rejected_with_its_place_and_the_others_stay(tmp_path: Path, element: Any, reason: str) -> None:
    write_mvs(tmp_path, [pair(0), element, pair(2)])

    found = listed(tmp_path)

    bad = [entry for entry in found if isinstance(entry, Rejected)]
    assert [entry.id for entry in found if isinstance(entry, Entry)] == ["p0", "v0", "p2", "v2"]
    assert (bad[-1].id, bad[-1].domain, bad[-1].file) == ("v1", "video", "MVS_train_dataset.pkl")
    assert bad[-1].reason.startswith(f"element 1: {reason}")


def test_a_clip_whose_numbers_are_not_finite_is_a_bad_item(tmp_path: Path) -> None:
    write_mvs(tmp_path, [pair(0, videotext=np.array([1, np.nan, 0, 0]))])
    source = MVS(tmp_path)
    _, clip = source.entries("train")
    assert isinstance(clip, Entry)

    with pytest.raises(BadItem, match="element 0: videotext has 1 numbers of 4 that are not finite in float32") as raised:
        source.read(clip)

    assert raised.value.file == "MVS_train_dataset.pkl"


def test_a_rejected_first_pair_does_not_set_the_lengths(tmp_path: Path) -> None:
    write_mvs(tmp_path, [pair(0, img=np.ones(9), queue_index=1), pair(1), pair(2)])

    assert [entry.id for entry in listed(tmp_path)] == ["v0", "p1", "v1", "p2", "v2"]


@pytest.mark.parametrize("queue_index", [0, 0.0, np.int64(0), np.array([0]), torch.tensor(0), hot(0, 3), [1, 0, 0], torch.tensor([[1, 0, 0]])])
def test_the_queue_index_is_a_number_or_one_hot(tmp_path: Path, queue_index: Any) -> None:
    write_mvs(tmp_path, [pair(0, queue_index=queue_index)])

    assert [entry.id for entry in listed(tmp_path) if isinstance(entry, Entry)] == ["p0", "v0"]


def named(root: Path, split: str = "train") -> list[list[str]]:
    """The category names of the split's clips."""
    return [item.labels["category"] for item in items(root, split).values() if item.domain == "video"]


def with_tree(root: Path, tree: Any = TREE, name: str = "ontology.json") -> Path:
    return write_files(root, {name: json.dumps(tree)})


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


def test_the_layout_is_recognised_by_its_files_and_splits_are_those_that_are_there(tmp_path: Path) -> None:
    write_mvs(tmp_path / "small", [pair(0)], "val")
    write_mvs(tmp_path / "small", [pair(0)], "train")
    write_mvs(tmp_path / "large", [pair(0)], "test", family="MVS_large")
    write_files(tmp_path / "neither", {"MVS_extra_dataset.pkl": b"", "MVS_train_dataset.pkl/a": b""})

    assert isinstance(open_source(tmp_path / "small"), MVS)
    assert open_source(tmp_path / "small").splits() == ("train", "val")
    assert open_source(tmp_path / "large", "mvs").splits() == ("test",)
    with pytest.raises(ValueError, match=r"layout not recognised.*mvs: MVS_train_dataset\.pkl"):
        open_source(tmp_path / "neither")


def test_files_of_mvs_and_of_mvs_large_in_one_folder_are_to_be_kept_apart(tmp_path: Path) -> None:
    write_mvs(tmp_path, [pair(0)])
    write_mvs(tmp_path, [pair(0)], family="MVS_large")

    with pytest.raises(ValueError, match="holds files of MVS and of MVS_large, which are two corpora; keep each in a folder of its own"):
        open_source(tmp_path)


class Harm:
    def __reduce__(self) -> Any:
        return os.system, ("exit 1",)


def test_a_pickle_that_tries_to_run_something_stops_packing_by_name(tmp_path: Path) -> None:
    write_mvs(tmp_path / "corpus", [pair(0), pair(1, img=Harm())])

    with pytest.raises(ValueError, match=rf"MVS_train_dataset\.pkl: byte \d+: it tried to use {os.system.__module__}\.system; a corpus may hold"):
        pack(tmp_path / "corpus", tmp_path / "shards", workers=1)

    assert not list((tmp_path / "shards").rglob("manifest.json"))


def many(count: int) -> list[dict[str, Any]]:
    """Pairs with three clips to a product."""
    return [pair(number, (KIWI, LIME, RYE, KETTLE, POT)[number // 3 % 5], product=number // 3) for number in range(count)]


def test_links_are_packed_as_queries_that_nothing_is_searched_with(tmp_path: Path) -> None:
    with_tree(write_mvs(tmp_path / "corpus", many(30)))
    write_mvs(tmp_path / "corpus", many(12), "val")

    folders = pack(tmp_path / "corpus", tmp_path / "shards", workers=1)

    train, val = ShardSet(folders["train"]), ShardSet(folders["val"])
    assert (train.counts, val.counts) == ({"goods": 10, "video": 30}, {"goods": 4, "video": 12})
    assert train.tokenizer() is None and train.manifest["vocabulary"] == 0
    assert val.manifest["ground_truth"] == {"video2goods": "shared queries", "goods2video": "shared queries"}
    goods_of = {query: sample.id for sample in samples(train, "goods") for query in numbers(sample)}
    clips = {sample.id: goods_of[query] for sample in samples(train, "video") for query in numbers(sample)}
    assert clips == {f"v{number}": f"p{number // 3 * 3}" for number in range(30)}


def samples(shards: ShardSet, domain: str) -> list[Any]:
    return [shards.shard(number).sample(row) for number in shards.of_domain(domain) for row in range(len(shards.shard(number)))]


def numbers(sample: Any) -> list[int]:
    return [query.id for query in sample.queries()]


def test_packing_by_several_processes_gives_the_same_bytes(tmp_path: Path) -> None:
    with_tree(write_mvs(tmp_path / "corpus", many(300)))

    alone = pack(tmp_path / "corpus", tmp_path / "alone", workers=1, shard_samples=25)["train"]
    together = pack(tmp_path / "corpus", tmp_path / "together", workers=2, shard_samples=25)["train"]

    assert len(ShardSet(alone).shards) > 8
    assert content(alone) == content(together)


def test_clips_can_be_held_out_where_there_is_no_val_split(tmp_path: Path) -> None:
    write_mvs(tmp_path / "corpus", many(30))

    folders = pack(tmp_path / "corpus", tmp_path / "shards", workers=1, holdout_videos=5, holdout_goods=6)

    val = ShardSet(folders["val"])
    assert val.counts["video"] == 5 and val.counts["goods"] >= 5 and "query" not in val.counts
    truth = dict(line.split("\t") for line in (folders["val"] / "ground_truth/video2goods.tsv").read_text().splitlines())
    assert truth == {id: f"p{int(id[1:]) // 3 * 3}" for id in ids(val, "video")}


def test_the_grocery_features_are_read_whole(test_data: Path, tmp_path: Path) -> None:
    root = test_data / "data/grocery_mvs"

    folders = pack(root, tmp_path / "shards", workers=1)

    train, val = ShardSet(folders["train"]), ShardSet(folders["val"])
    assert (train.source, train.counts, val.counts) == ("mvs", {"goods": 81, "video": 500}, {"goods": 60, "video": 67})
    assert rejected(folders["train"]) == rejected(folders["val"]) == []
    clips, products = samples(val, "video"), samples(val, "goods")
    assert {sample.members for sample in clips} == {("json", "vision.npy")}, "these clips have no words"
    assert {sample.members for sample in products} == {("json", "vision.npy", "words.npy")}
    truth = [line.split("\t") for line in (folders["val"] / "ground_truth/video2goods.tsv").read_text().splitlines()]
    assert len(truth) == 67 and all("," not in products for _, products in truth)


def test_the_categories_of_the_grocery_features_have_the_names_that_they_have_elsewhere(test_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The tree's walk does not fit these numbers; the order among siblings does, and gives every name of the same goods in the other layout."""
    goods = test_data / "data/grocery/goods/text"
    texts = [file.read_text().splitlines() for file in goods.rglob("*.txt")]
    expected = Counter((*text[1].split("/"), text[4]) for text in texts)

    found = Counter(tuple(item.labels["category"]) for item in items(test_data / "data/grocery_mvs").values() if item.domain == "goods")

    assert found == expected and len(found) == 81
    assert capsys.readouterr().out.count("names by the order among siblings\n") == 2


MEASURE = """
import json, re, sys
from pathlib import Path
from pipeline.sources.mvs import MVS

source = MVS(Path(sys.argv[1]))
seen = 0
for entry in source.entries("train"):
    seen += 1
    if entry.line % 100 == 0:
        source.read(entry)
peak = re.search(r"VmHWM:\\s+([0-9]+) kB", Path("/proc/self/status").read_text())  # ru_maxrss begins with that of the process that started this one
print(json.dumps({"seen": seen, "peak": int(peak.group(1)) / 1024}))
"""


def test_ten_times_the_pairs_take_no_more_memory(tmp_path: Path) -> None:
    def measured(count: int) -> dict[str, float]:
        root = tmp_path / str(count)
        root.mkdir()
        vectors = np.random.default_rng(0).normal(size=(count, 256)).astype(np.float32)
        hots = {"first_cluster": hot(0, 2), "second_cluster": hot(1, 3), "third_cluster": hot(2, 5), "queue_index": 1}
        write_mvs(root, [{key: vector.copy() for key in ("video", "img", "videotext", "imgtext")} | hots for vector in vectors])
        command = [sys.executable, "-c", MEASURE, str(root)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment, timeout=300)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    small, large = measured(800), measured(8000)

    assert (small["seen"], large["seen"]) == (1600, 16_000)
    # The file's numbers would be 29 MB more, and so would what its pickle puts aside.
    assert large["peak"] - small["peak"] < 4
