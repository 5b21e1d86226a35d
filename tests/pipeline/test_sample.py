"""The sample corpus: the Real20M layout, the same bytes however it is drawn, clips that are real H.264, words in two languages."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import av
import pytest
from PIL import Image

from pipeline.sources import sample
from pipeline.sources.procedural.clips import FRAMES
from pipeline.sources.sample import main, write_sample

PRODUCTS, CLIPS, SEED = 14, 4, 1


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sample(tmp_path_factory.mktemp("sample") / "corpus", PRODUCTS, CLIPS, SEED, workers=1)


def rows(path: Path) -> list[list[str]]:
    return [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]


def ids(side: str) -> set[str]:
    return set() if side == "None" else set(side.split(","))


def bytes_below(root: Path) -> dict[str, str]:
    return {str(file.relative_to(root)): hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(root.rglob("*")) if file.is_file()}


def test_every_listed_item_has_its_files(corpus):
    train = rows(corpus / "train_file/train.txt")
    clips = set().union(*(ids(row[2]) for row in train)) | {row[0] for row in rows(corpus / "test_file/all_videos.txt")}
    goods = {row[0] for row in rows(corpus / "test_file/all_goods.txt")}

    for item in goods:
        folder = str(int(item) % 50_000)
        assert Image.open(corpus / f"goods/images/{folder}/{item}.jpg").size == (128, 128)
        text = (corpus / f"goods/text/{folder}/{item}.txt").read_text(encoding="utf-8").splitlines()
        assert len(text) == 6
        assert text[0] == item
        assert text[1].count("/") == 2
    for item in clips:
        folder = str(int(item) % 50_000)
        frames = (corpus / f"video/frameid/{folder}/{item}.txt").read_text(encoding="utf-8").splitlines()
        assert frames == [f"{folder}/{item}.mp4"]
        assert (corpus / "video/images" / frames[0]).is_file()
        assert len((corpus / f"video/text/{folder}/{item}.txt").read_text(encoding="utf-8").splitlines()) == 3
    # 14 products, of which 2 are new (0.15 x 14 = 2.1): 12 x 3 clips to train on and 14 x 1 to test with.
    assert len(goods) == 14
    assert len(clips) == 12 * 3 + 14
    assert len(list((corpus / "video/images").rglob("*.mp4"))) == len(clips)


def test_clips_are_h264_with_the_stated_number_of_frames(corpus):
    file = sorted((corpus / "video/images").rglob("*.mp4"))[0]

    with av.open(str(file)) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]

        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
    assert [frame.shape for frame in frames] == [(112, 112, 3)] * FRAMES
    assert all(frame.std() > 5 for frame in frames)
    assert abs(frames[0].astype(int) - frames[-1].astype(int)).mean() > 5


def test_bytes_do_not_depend_on_the_number_of_processes(corpus, tmp_path):
    again = write_sample(tmp_path / "again", PRODUCTS, CLIPS, SEED, workers=2)

    assert bytes_below(again) == bytes_below(corpus)


def test_another_seed_gives_other_pictures(corpus, tmp_path):
    other = write_sample(tmp_path / "other", 2, 2, SEED + 1, workers=1)

    image = "goods/images/0/1000000.jpg"
    assert (other / image).read_bytes() != (corpus / image).read_bytes()


def test_queries_are_shared_bilingual_and_now_and_then_one_sided(corpus):
    train = rows(corpus / "train_file/train.txt")
    words = [row[0] for row in train]

    assert len(set(words)) == len(words)
    assert any(len(ids(row[1])) > 1 for row in train)
    assert any(re.fullmatch(r"[a-z\- ]+", query) for query in words)
    assert any(re.search(r"[\u4e00-\u9fff]", query) for query in words)
    assert any(row[2] == "None" and row[1] != "None" for row in train)
    assert any(row[1] == "None" and row[2] != "None" for row in train)
    assert not any(row[1] == row[2] == "None" for row in train)


def test_every_training_item_is_found_by_a_query_of_its_own(corpus):
    train = rows(corpus / "train_file/train.txt")
    exact = [row for row in train if re.search(r" with |[\u4e00-\u9fff] .* [a-z]", row[0])]

    for side in (1, 2):
        listed = set().union(*(ids(row[side]) for row in train))
        assert set().union(*(ids(row[side]) for row in exact)) == listed


def test_a_query_for_one_product_finds_that_product_alone(corpus):
    train = {row[0]: row for row in rows(corpus / "train_file/train.txt")}
    query = {row[0]: row[2] for row in rows(corpus / "test_file/all_goods.txt")}

    for good, words in query.items():
        if words in train:
            assert ids(train[words][1]) == {good}
    assert sum(words in train for words in query.values()) == 12


def test_a_query_lists_no_more_than_a_page(tmp_path, monkeypatch):
    monkeypatch.setattr(sample, "_draw", lambda *_: None)

    train = rows(write_sample(tmp_path / "lists", 240, 4) / "train_file/train.txt")

    assert max(len(ids(row[1])) for row in train) == 12
    assert max(len(ids(row[2])) for row in train) == 24


def test_each_query_has_three_cluster_numbers(corpus):
    clusters = rows(corpus / "train_file/cluster.txt")

    assert [row[0] for row in clusters] == [row[0] for row in rows(corpus / "train_file/train.txt")]
    for level in (1, 2, 3):
        numbers = {int(row[level]) for row in clusters}
        assert numbers == set(range(len(numbers)))
    # A finer cluster lies in one coarser cluster.
    assert len({(row[2], row[3]) for row in clusters}) == len({row[3] for row in clusters})
    assert len({(row[1], row[2]) for row in clusters}) == len({row[2] for row in clusters})


def test_ground_truth_is_spelled_as_released_and_the_two_directions_agree(corpus):
    video2goods = rows(corpus / "test_file/eval_gt_video2goods.txt")
    goods2video = rows(corpus / "test_file/eval_gt_good2video.txt")

    assert all(re.fullmatch(r"3\d{6}_0", query) for query, _ in video2goods)
    assert all(re.fullmatch(r"1\d{6}\.jpg", good) for _, goods in video2goods for good in goods.split(","))
    assert all(re.fullmatch(r"1\d{6}", query) for query, _ in goods2video)
    pairs = {(query[:-2], good[:-4]) for query, goods in video2goods for good in goods.split(",")}
    assert pairs == {(clip[:-4], good) for good, clips in goods2video for clip in clips.split(",")}
    assert {clip for clip, _ in pairs} == {row[0] for row in rows(corpus / "test_file/photo_query.txt")}


def test_goods_and_clips_of_the_test_files_are_gathered_by_the_query_for_their_product(corpus):
    goods = {row[0]: row[2] for row in rows(corpus / "test_file/all_goods.txt")}
    clips = {row[0]: row[2] for row in rows(corpus / "test_file/all_videos.txt")}
    first = {query[:-2]: goods_shown.split(",")[0][:-4] for query, goods_shown in rows(corpus / "test_file/eval_gt_video2goods.txt")}

    assert len(set(goods.values())) == len(goods)
    assert {clip: goods[good] for clip, good in first.items()} == clips


def test_no_test_clip_and_no_new_product_is_trained_on(corpus):
    train = rows(corpus / "train_file/train.txt")
    trained_goods = set().union(*(ids(row[1]) for row in train))
    trained_clips = set().union(*(ids(row[2]) for row in train))
    test_goods = {row[0] for row in rows(corpus / "test_file/all_goods.txt")}

    assert trained_clips.isdisjoint(row[0] for row in rows(corpus / "test_file/all_videos.txt"))
    assert trained_goods < test_goods
    assert len(test_goods - trained_goods) == 2


def test_some_clips_show_two_goods_and_some_have_no_words(corpus):
    relevant = [goods.split(",") for _, goods in rows(corpus / "test_file/eval_gt_video2goods.txt")]
    texts = [file.read_text(encoding="utf-8").splitlines() for file in (corpus / "video/text").rglob("*.txt")]

    assert {len(goods) for goods in relevant} == {1, 2}
    assert any(set(text) == {"null"} for text in texts)
    assert any("null" not in text for text in texts)


def test_a_corpus_that_stands_is_kept_and_anything_else_is_refused(corpus, tmp_path):
    before = bytes_below(corpus)
    (tmp_path / "mine.txt").write_text("keep me")

    write_sample(corpus, PRODUCTS, CLIPS, SEED, workers=1)
    with pytest.raises(ValueError, match="other settings"):
        write_sample(corpus, PRODUCTS, CLIPS, SEED + 1, workers=1)
    with pytest.raises(ValueError, match="something else than a sample corpus"):
        write_sample(tmp_path, PRODUCTS, CLIPS)

    assert bytes_below(corpus) == before
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


def test_a_drawing_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(sample, "write_clip", fail)

    with pytest.raises(OSError, match="disk full"):
        write_sample(tmp_path / "corpus", 2, 2, workers=1)

    assert list(tmp_path.iterdir()) == []


def test_the_command_says_what_is_wrong_in_one_line(tmp_path):
    command = [sys.executable, "-m", "pipeline.sources.sample", "--out", str(tmp_path / "corpus"), "--products", "0"]

    ended = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])

    assert ended.returncode == 2
    assert ended.stderr == "error: --products 0: there can be 1 to 1440 different products\n"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--products", "0"], "--products 0: there can be 1 to 1440"),
        (["--products", "1441"], "--products 1441"),
        (["--clips_per_product", "1"], "--clips_per_product 1: at least 2"),
        (["--workers", "0"], "--workers 0"),
    ],
)
def test_numbers_out_of_range_are_named(tmp_path, flags, message):
    with pytest.raises(ValueError, match=message):
        main(["--out", str(tmp_path / "corpus"), *flags])

    assert not (tmp_path / "corpus").exists()
