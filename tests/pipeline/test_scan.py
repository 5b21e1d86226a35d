"""SCAN's layout: images and their captions listed, read and packed; what does not go together is named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.concepts.counts import read_concepts
from pipeline.feature_member import read_feature
from pipeline.item import Item
from pipeline.order import order_of
from pipeline.pack import pack
from pipeline.recipe import Stream
from pipeline.shards import ShardSet
from pipeline.sources import BadItem, Entry, Rejected, open_source, scan
from pipeline.sources.scan import Scan
from tests.pipeline.corpora import write_files
from tests.pipeline.little_captions import packed_captions, write_captions
from tests.pipeline.little_features import samples
from tests.pipeline.little_pairs import npy

CAPTIONS = [f"caption {number // 5} {number % 5}" for number in range(10)]
REGIONS = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)


def corpus(root: Path, regions: np.ndarray = REGIONS, captions: list[str] = CAPTIONS, ids: list[str] | None = None, stem: str = "test") -> Path:
    files: dict[str, str | bytes] = {f"{stem}_ims.npy": npy(regions), f"{stem}_caps.txt": "".join(f"{line}\n" for line in captions)}
    return write_files(root, files | ({} if ids is None else {f"{stem}_ids.txt": "\n".join(ids)}))


def listed(root: Path, split: str = "test") -> list[Entry | Rejected]:
    return list(Scan(root).entries(split))


def items(root: Path, split: str = "test") -> dict[str, Item]:
    source = Scan(root)
    return {f"{entry.domain} {entry.id}": source.read(entry) for entry in source.entries(split) if isinstance(entry, Entry)}


@pytest.mark.parametrize("rows", [REGIONS, np.repeat(REGIONS, 5, axis=0), REGIONS.astype(np.float16)])
def test_an_image_has_its_regions_and_five_captions_whether_or_not_its_rows_are_repeated(tmp_path: Path, rows: np.ndarray) -> None:
    found = items(corpus(tmp_path, rows))

    assert list(found)[:7] == ["image 0", "text 0_0", "text 0_1", "text 0_2", "text 0_3", "text 0_4", "image 1"] and len(found) == 12
    assert found["text 1_3"].words == {"caption": "caption 1 3"}
    regions = found["image 1"].features["regions"]
    assert type(regions) is np.ndarray and np.array_equal(regions, REGIONS[1])
    assert [query.words for query in found["image 1"].queries] == [query.words for query in found["text 1_3"].queries] == ["1"]


def test_ids_come_from_a_file_with_a_line_for_each_image_or_each_caption(tmp_path: Path) -> None:
    by_image = items(corpus(tmp_path / "a", ids=["cow", "sow"]))
    by_caption = items(corpus(tmp_path / "b", ids=["cow"] * 5 + ["sow"] * 5))

    assert list(by_image) == list(by_caption) and list(by_image)[5:8] == ["text cow_4", "image sow", "text sow_0"]
    with pytest.raises(ValueError, match=r"test_ids.txt: 3 ids for 2 images and 10 captions"):
        listed(corpus(tmp_path / "c", ids=["cow", "sow", "dow"]))
    with pytest.raises(ValueError, match=r"test_ids.txt: the id of image 1 is empty"):
        listed(corpus(tmp_path / "d", ids=["cow", " "]))


@pytest.mark.parametrize(("rows", "captions"), [(2, 9), (3, 10), (9, 9), (2, 0), (5, 10)])
def test_numbers_that_do_not_go_together_are_both_named(tmp_path: Path, rows: int, captions: int) -> None:
    with pytest.raises(ValueError, match=rf"test_ims.npy has {rows} rows and test_caps.txt {captions} captions; wanted 5 captions for each row, or"):
        listed(corpus(tmp_path, np.zeros((rows, 3, 4), np.float32), CAPTIONS[:captions]))


@pytest.mark.parametrize("array", [np.zeros((2, 3), np.float32), np.zeros((2, 3, 4), np.int64), np.zeros((0, 3, 4), np.float32)])
def test_regions_of_another_form_are_named(tmp_path: Path, array: np.ndarray) -> None:
    with pytest.raises(ValueError, match=rf"{array.dtype} of the shape \[{array.shape[0]}, 3.*wanted floating-point numbers \[images, regions"):
        listed(corpus(tmp_path, array))
    (tmp_path / "test_ims.npy").write_bytes(b"no array")
    with pytest.raises(ValueError, match=r"test_ims.npy: no .npy array that can be mapped"):
        listed(tmp_path)


def test_an_empty_caption_and_one_that_is_no_text_are_rejected_and_the_others_keep_their_numbers(tmp_path: Path) -> None:
    root = corpus(tmp_path, captions=[*CAPTIONS[:3], "", *CAPTIONS[4:]])
    lines = (root / "test_caps.txt").read_bytes().split(b"\n")
    (root / "test_caps.txt").write_bytes(b"\r\n".join([lines[0], b"\xff", *lines[2:]]))

    found = listed(root)

    rejected = [one for one in found if isinstance(one, Rejected)]
    assert [(one.id, one.reason) for one in rejected] == [
        ("0_1", "line 2: not UTF-8 text: byte 0xff at position 0"),
        ("0_3", "line 4 is empty"),
    ]
    assert [one.payload for one in found if isinstance(one, Entry) and one.id == "0_4"] == ["caption 0 4"]


def test_rows_that_differ_or_are_not_finite_are_no_image(tmp_path: Path) -> None:
    repeated = np.repeat(REGIONS, 5, axis=0)
    repeated[7] += 1
    broken = REGIONS.copy()
    broken[1, 2, 3] = np.nan

    for place, (rows, reason) in enumerate(
        ((repeated, "rows 5 to 9 are one image in this layout, but they differ"), (broken, "row 1 holds a number that is not"))
    ):
        source = Scan(corpus(tmp_path / str(place), rows))
        images = [entry for entry in source.entries("test") if isinstance(entry, Entry) and entry.domain == "image"]
        assert source.read(images[0]).features
        with pytest.raises(BadItem, match=reason):
            source.read(images[1])


def test_the_layout_is_recognised_with_the_splits_that_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for stem in ("train", "dev", "testall"):
        corpus(tmp_path, stem=stem)
    monkeypatch.setattr(scan, "FOLD_IMAGES", 1)

    source = open_source(tmp_path)

    assert isinstance(source, Scan) and source.splits() == ("train", "val", "testall")
    assert [entry.labels for entry in listed(tmp_path, "testall")][4:8] == [{"fold": 0}, {"fold": 0}, {"fold": 1}, {"fold": 1}]
    assert not any(entry.labels for entry in listed(tmp_path, "train") if isinstance(entry, Entry))


def test_packed_captions_have_concepts_words_and_ground_truth_and_are_drawn_with_their_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shards = packed_captions(tmp_path)

    train, val = ShardSet(shards / "train"), ShardSet(shards / "val")
    assert (train.counts, val.counts) == ({"image": 36, "text": 180}, {"image": 12, "text": 60})
    assert "training needs goods and video" not in capsys.readouterr().out
    truth = {task: (shards / f"val/ground_truth/{task}.tsv").read_text().splitlines() for task in ("image2text", "text2image")}
    assert truth["image2text"][1] == "1\t1_0,1_1,1_2,1_3,1_4" and truth["text2image"][7] == "1_2\t1"
    assert json.loads((shards / "val/manifest.json").read_text())["ground_truth"] == dict.fromkeys(("text2image", "image2text"), "shared queries")
    array = read_feature(samples(val, "image")["3"], "regions")
    assert array is not None and array.shape == (4, 10)
    concepts = read_concepts(shards / "train")
    assert concepts.forms[:4] == (("blue",), ("green",), ("red",), ("boat", "boats")) and concepts.captions[:4].tolist() == [48, 48, 48, 45]
    assert "dog\t" in (shards / "train/words.tsv").read_text()

    order = order_of(train, Stream(batch_size=9, policy="captions"), seed=0)
    drawn = [[train.shard(draw.shard).sample(draw.row) for draw in batch] for batch in order.batches(0)]
    assert order.batches_in(0) == len(drawn) == 20
    texts = [sample.id for batch in drawn for sample in batch[::2]]
    assert sorted(texts) == sorted(samples(train, "text"))
    assert [sample.id for batch in drawn for sample in batch[1::2]] == [text.rpartition("_")[0] for text in texts]


def test_a_corpus_without_captions_has_no_pairs_to_draw(tmp_path: Path) -> None:
    pack(write_captions(tmp_path / "corpus", ("train",)), tmp_path / "shards", workers=1, vocab_size=0)
    split = ShardSet(tmp_path / "shards/train")
    split.shards = tuple(info for info in split.shards if info.domain == "text")

    with pytest.raises(
        ValueError, match=r"no text shares a query with an image.*--stream.policy captions needs a corpus of images and their captions"
    ):
        order_of(split, Stream(batch_size=9, policy="captions"), seed=0)
