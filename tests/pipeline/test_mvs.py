"""The reader of the MVS layout (MQMC): what a pair becomes, and what is wrong with one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.item import Query
from pipeline.packing.members import members_of
from pipeline.sources import BadItem, Entry, Rejected, open_source
from pipeline.sources.mvs import MVS
from tests.pipeline.corpora import write_files
from tests.pipeline.mvs_pairs import KIWI, POT, RYE, hot, items, listed, pair, product, write_mvs


def test_a_pair_is_a_product_and_its_clip_that_share_a_query(tmp_path: Path) -> None:
    written = pair(0, RYE)
    write_mvs(tmp_path, [written])

    good, clip = items(tmp_path).values()

    assert (good.id, good.domain, clip.id, clip.domain) == (product(0), "goods", "v0", "video")
    assert good.queries == clip.queries == (Query(-1, product(0)),)
    assert (good.words, good.media, good.role) == ({}, (), "both")
    np.testing.assert_array_equal(good.features["vision"], written["img"], strict=True)
    np.testing.assert_array_equal(good.features["words"], written["imgtext"], strict=True)
    np.testing.assert_array_equal(clip.features["vision"], written["video"][0], strict=True)
    np.testing.assert_array_equal(clip.features["words"], written["videotext"], strict=True)
    assert good.labels == clip.labels == {"category": ["0", "1", "2"], "category_ids": [0, 1, 2]}


def test_tensors_are_read_as_arrays_are(tmp_path: Path) -> None:
    arrays = [pair(0), pair(1, POT)]
    tensors = [{key: torch.from_numpy(np.asarray(value)) for key, value in one.items()} for one in arrays]
    write_mvs(tmp_path / "arrays", arrays)
    write_mvs(tmp_path / "tensors", tensors, protocol=2)

    from_arrays, from_tensors = items(tmp_path / "arrays"), items(tmp_path / "tensors")

    assert list(from_tensors) == [product(0), "v0", product(1), "v1"]
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
    np.testing.assert_array_equal(found[product(0, **changed)].features["vision"], np.arange(5, dtype=np.float32), strict=True)
    np.testing.assert_array_equal(found[product(0, **changed)].features["words"], np.ones(4, np.float32), strict=True)
    np.testing.assert_array_equal(found["v1"].features["vision"], np.arange(6, dtype=np.float32), strict=True)


def test_equal_products_of_two_categories_keep_the_first_and_it_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_mvs(tmp_path, [pair(0, KIWI), pair(1, POT, product=0)])

    found = items(tmp_path)

    assert (found[product(0)].labels["category_ids"], found["v1"].labels["category_ids"]) == ([0, 0, 0], [1, 2, 4])
    said = "1 clips have another category than their product has from an element before, e.g. element 1 has [1, 2, 4], element 0 [0, 0, 0]"
    assert said in capsys.readouterr().out


def test_a_vector_of_zeros_alone_is_absent_and_has_no_member(tmp_path: Path) -> None:
    none = np.zeros(4, np.float32)
    write_mvs(tmp_path, [pair(0, videotext=none, img=np.zeros(5)), pair(1, imgtext=-none)])

    found = items(tmp_path)

    assert {id: set(item.features) for id, item in found.items()} == {
        product(0, img=none): {"words"},
        "v0": {"vision"},
        product(1, imgtext=none): {"vision"},
        "v1": {"vision", "words"},
    }
    assert [suffix for suffix, _ in members_of(found["v0"], tmp_path, None)] == ["json", "vision.npy"]


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
    assert [entry.id for entry in found if isinstance(entry, Entry)] == [product(0), "v0", product(2), "v2"]
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

    assert [entry.id for entry in listed(tmp_path)] == ["v0", product(1), "v1", product(2), "v2"]


@pytest.mark.parametrize("queue_index", [0, 0.0, np.int64(0), np.array([0]), torch.tensor(0), hot(0, 3), [1, 0, 0], torch.tensor([[1, 0, 0]])])
def test_the_queue_index_is_a_number_or_one_hot(tmp_path: Path, queue_index: Any) -> None:
    write_mvs(tmp_path, [pair(0, queue_index=queue_index)])

    assert [entry.id for entry in listed(tmp_path) if isinstance(entry, Entry)] == [product(0), "v0"]


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
