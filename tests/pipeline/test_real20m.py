"""The reader of the Real20M layout."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.item import Query
from pipeline.pack import pack
from pipeline.shards import ShardSet
from pipeline.sources import BadItem, Entry, Rejected, open_source
from pipeline.sources.real20m import Real20M
from tests.pipeline.corpora import picture, real20m_files, write_files


def listed(source: Real20M, split: str) -> list[Entry]:
    entries = list(source.entries(split))
    assert all(isinstance(entry, Entry) for entry in entries)
    return [entry for entry in entries if isinstance(entry, Entry)]


def rejected(source: Real20M, split: str) -> list[Rejected]:
    return [entry for entry in source.entries(split) if isinstance(entry, Rejected)]


def only(source: Real20M, split: str, id: str) -> Entry:
    return next(entry for entry in listed(source, split) if entry.id == id)


def corpus(root: Path, **changed: str | bytes | None) -> Real20M:
    """The small corpus with some files replaced, or left out where None; keys are paths with `/` and `.` spelt `__` and `_txt`."""
    files = real20m_files()
    for name, content in changed.items():
        path = name.replace("__", "/").replace("_txt", ".txt").replace("_jpg", ".jpg")
        assert path in files, path
        if content is None:
            del files[path]
        else:
            files[path] = content
    return Real20M(write_files(root, files))


def test_grocery_lists_every_pair_of_query_and_item(test_data: Path) -> None:
    source = open_source(test_data / "data" / "grocery")

    train, test = listed(source, "train"), listed(source, "test")

    assert source.name == "real20m" and source.splits() == ("train", "test")
    assert len({entry.id for entry in train if entry.domain == "goods"}) == 81
    assert len({entry.id for entry in train if entry.domain == "video"}) == 999
    assert len({entry.queries[0].words for entry in train}) == 301
    goods, clips = [("goods", "document")] * 81 + [("goods", "query")] * 81, [("video", "document")] * 67 + [("video", "query")] * 67
    assert [(entry.domain, entry.role) for entry in test] == goods + clips


def test_a_grocery_good_has_its_words_and_labels(test_data: Path) -> None:
    source = open_source(test_data / "data" / "grocery", "real20m")

    item = source.read(Entry("1000064", "goods"))

    assert item.words == {
        "title": "Lime",
        "description": "The lime fruit, like lemon, has sour taste, with the difference that the lime is more juicy and flavorsome than the lemon. "
        "It is mainly the juice you use but also the shell can be used.",
    }
    assert item.labels == {"category": ["Fruit", "Lime"], "entity": "Lime"}
    assert item.media == (source.root / "goods/images/64/1000064.jpg",)


def test_a_grocery_clip_has_its_frames_in_order_and_no_words(test_data: Path) -> None:
    source = open_source(test_data / "data" / "grocery")

    item = source.read(Entry("2001194", "video"))

    assert item.words == {}
    assert item.media == tuple(source.root / f"video/images/1194/2001194_{frame}.jpg" for frame in range(8))


def test_grocery_ground_truth_becomes_plain_ids(test_data: Path) -> None:
    truth = open_source(test_data / "data" / "grocery").ground_truth("test")

    lines = {task: list(pairs) for task, pairs in truth.items()}

    assert len(lines["video2goods"]) == 67 and lines["video2goods"][0] == ("3000003", ["1000001"])
    assert len(lines["goods2video"]) == 60 and lines["goods2video"][0] == ("1000001", ["3000003", "3000006"])


def test_a_line_gives_each_of_its_items_the_query_and_none_where_a_side_is_empty(tmp_path: Path) -> None:
    entries = listed(corpus(tmp_path), "train")

    assert [(entry.domain, entry.id, entry.queries[0].words, entry.line) for entry in entries] == [
        ("goods", "101", "girl's coat", 1),
        ("video", "100203", "girl's coat", 1),
        ("video", "50204", "girl's coat", 1),
        ("goods", "101", "blue kettle", 2),
        ("goods", "50102", "blue kettle", 2),
        ("video", "205", "blue kettle", 2),
    ]


def test_clusters_follow_the_words_of_a_query_with_entities_undone(tmp_path: Path) -> None:
    source = corpus(tmp_path, train_file__cluster_txt="girl&#39;s coat\t1\t2\t30\nblue kettle\t4\tNone\tNone\nother\tNone\tNone\tNone\n")

    assert list(source.clusters("train")) == [("girl's coat", (1, 2, 30)), ("blue kettle", (4,))]


def test_a_cluster_that_is_no_number_names_file_and_line(tmp_path: Path) -> None:
    source = corpus(tmp_path, train_file__cluster_txt="girl&#39;s coat\t1\nblue kettle\tfour\n")

    with pytest.raises(ValueError, match=r"cluster\.txt: line 2 is 'blue kettle\\tfour'; wanted a query and whole-number cluster ids"):
        list(source.clusters("train"))


def test_null_is_empty_in_any_field_and_is_never_a_word(tmp_path: Path) -> None:
    source = corpus(tmp_path)

    assert source.read(Entry("101", "goods")).words == {"title": "A coat & hood"}
    assert source.read(Entry("100203", "video")).words == {"caption": "look at this"}
    assert source.read(Entry("50204", "video")).words == {}
    no_words = source.read(Entry("50102", "goods"))
    assert no_words.words == {} and no_words.labels == {} and len(no_words.media) == 1


def test_a_query_that_is_null_gives_the_item_no_query(tmp_path: Path) -> None:
    source = corpus(tmp_path, train_file__train_txt="null\t101\tNone\n")

    assert [(entry.id, entry.queries) for entry in listed(source, "train")] == [("101", ())]


def test_three_lines_of_video_text_are_caption_title_and_recognised_text(tmp_path: Path) -> None:
    item = corpus(tmp_path).read(Entry("205", "video"))

    assert item.words == {"caption": "茶壶", "title": "蓝色", "recognised_text": "30% off"}
    assert item.media == ()


def test_labels_are_category_path_brand_and_entity(tmp_path: Path) -> None:
    assert corpus(tmp_path).read(Entry("101", "goods")).labels == {"category": ["Clothes", "Coats"], "brand": "Nami", "entity": "coat"}


def test_a_frame_list_may_name_one_video_file(tmp_path: Path) -> None:
    source = corpus(tmp_path, video__frameid__204__50204_txt="9/clip.mp4\n")

    item = source.read(Entry("50204", "video"))

    assert item.is_video_file and item.media == (tmp_path / "video/images/9/clip.mp4",)


def test_a_frame_list_with_two_video_files_is_rejected(tmp_path: Path) -> None:
    source = corpus(tmp_path, video__frameid__204__50204_txt="9/clip.mp4,9/other.mp4\n")

    with pytest.raises(BadItem, match=r"video/frameid/204/50204\.txt: lists 2 files with a video file among them"):
        source.read(Entry("50204", "video"))


@pytest.mark.parametrize("path", ["../../secret.jpg", "/etc/secret.jpg", "9/../../../secret.jpg", "C:/secret.jpg", "..\\secret.jpg"])
def test_a_frame_path_out_of_the_corpus_is_rejected_by_name(tmp_path: Path, path: str) -> None:
    source = corpus(tmp_path, video__frameid__204__50204_txt=f"9/a_0.jpg,{path}\n")

    with pytest.raises(BadItem) as caught:
        source.read(Entry("50204", "video"))

    assert caught.value.file == "video/frameid/204/50204.txt" and repr(path) in caught.value.reason


def test_an_escaping_path_of_a_test_file_is_rejected_by_name(tmp_path: Path) -> None:
    source = corpus(tmp_path, test_file__photo_query_txt="205\tphoto\tnone\tnone\t../../text.txt\n")

    with pytest.raises(BadItem, match=r"test_file/photo_query\.txt: media path '\.\./\.\./text\.txt'"):
        source.read(only(source, "test", "205"))


@pytest.mark.parametrize(
    ("file", "domain", "id", "content", "expected"),
    [
        ("goods/text/101/101.txt", "goods", "101", "101\nClothes\nNami\ncoat\nA coat\n", "has 5 lines, not 6"),
        ("goods/text/101/101.txt", "goods", "101", "101\na\nb\nc\nd\ne\nf\n", "has 7 lines, not 6"),
        ("video/text/203/100203.txt", "video", "100203", "one\ntwo\n", "has 2 lines, not 3"),
        ("video/text/203/100203.txt", "video", "100203", "", "has 0 lines, not 3"),
        ("video/frameid/203/100203.txt", "video", "100203", "9/a_0.jpg\n9/a_1.jpg\n", "has 2 lines, not 1"),
        ("video/text/203/100203.txt", "video", "100203", b"caf\xe9\nnull\nnull\n", "not UTF-8 text: byte 0xe9 at position 3"),
    ],
)
def test_a_damaged_text_file_is_named_with_both_numbers(tmp_path: Path, file: str, domain: str, id: str, content: str | bytes, expected: str) -> None:
    source = Real20M(write_files(tmp_path, {**real20m_files(), file: content}))

    with pytest.raises(BadItem) as caught:
        source.read(Entry(id, domain))

    assert caught.value.file == file and caught.value.reason.startswith(expected)


def test_blank_lines_after_the_last_are_not_counted_and_an_empty_last_line_is(tmp_path: Path) -> None:
    source = corpus(tmp_path, goods__text__101__101_txt="101\nnull\nnull\nnull\ntitle\n\n", video__text__203__100203_txt="a\r\nb\r\nc\r\n\r\n\n")

    assert source.read(Entry("101", "goods")).words == {"title": "title"}
    assert source.read(Entry("100203", "video")).words == {"caption": "a", "title": "b", "recognised_text": "c"}


@pytest.mark.parametrize(("file", "domain", "id"), [("goods/text/101/101.txt", "goods", "101"), ("video/frameid/205/205.txt", "video", "205")])
def test_a_missing_text_file_is_named(tmp_path: Path, file: str, domain: str, id: str) -> None:
    files = real20m_files()
    del files[file]

    with pytest.raises(BadItem, match=f"^{file}: missing file$"):
        Real20M(write_files(tmp_path, files)).read(Entry(id, domain))


def test_an_item_with_neither_words_nor_media_is_rejected(tmp_path: Path) -> None:
    source = corpus(tmp_path, video__text__205__205_txt="null\nnull\nnull\n")

    with pytest.raises(BadItem, match=r"video/text/205/205\.txt: has neither words nor media"):
        source.read(Entry("205", "video"))


def test_bad_lines_of_the_train_file_are_named_and_the_others_are_read(tmp_path: Path) -> None:
    source = corpus(tmp_path, train_file__train_txt=b"a\t101,7x\t205\nb\t101\n\nc\t101\t205\n\xff\t1\t2\n")

    good = [(entry.id, entry.line) for entry in source.entries("train") if isinstance(entry, Entry)]
    assert good == [("101", 1), ("205", 1), ("101", 4), ("205", 4)]
    assert [(one.id, one.file, one.reason) for one in rejected(source, "train")] == [
        ("7x", "train_file/train.txt", "line 1: id '7x' is not a number"),
        ("", "train_file/train.txt", "line 2 has 2 tab-separated columns, not 3 (query, goods ids, video ids) or 4 (and live ids)"),
        ("", "train_file/train.txt", "line 5: not UTF-8 text: byte 0xff at position 0"),
    ]


def test_bad_lines_of_a_test_file_are_named(tmp_path: Path) -> None:
    source = corpus(tmp_path, test_file__photo_query_txt="205\tphoto\tnone\tnone\n2o5\tphoto\tn\tn\tn\n205\timage\tn\tn\tn\n")

    assert [(one.id, one.reason) for one in rejected(source, "test")] == [
        ("205", "line 1: 4 tab-separated columns, not 5 (id, goods|photo|live, query, image paths, text path)"),
        ("2o5", "line 2: id '2o5' is not a number"),
        ("205", "line 3: second column is 'image', not goods, photo or live"),
    ]


def test_the_query_column_of_a_test_file_is_a_label_and_not_words(tmp_path: Path) -> None:
    source = corpus(tmp_path)

    item = source.read(only(source, "test", "101"))

    assert item.labels["query_words"] == "Coat" and item.queries == () and item.words == {"title": "A coat & hood"}
    assert only(source, "test", "101").gathered_by == "Coat" and only(source, "test", "100203").gathered_by == ""
    assert "query_words" not in source.read(only(source, "test", "100203")).labels


def test_a_test_file_names_its_images_and_text_itself(tmp_path: Path) -> None:
    source = corpus(tmp_path)

    clip, text_only = source.read(only(source, "test", "100203")), source.read(only(source, "test", "205"))

    assert clip.media == (tmp_path / "video/images/9/a_0.jpg", tmp_path / "video/images/9/a_1.jpg") and clip.role == "document"
    assert text_only.media == () and text_only.role == "query" and text_only.words["caption"] == "茶壶"


def test_ground_truth_in_another_spelling_names_file_and_line(tmp_path: Path) -> None:
    source = corpus(tmp_path, test_file__eval_gt_video2goods_txt="205_0\t101.jpg\n205_0\tabc.jpg\n")

    with pytest.raises(ValueError, match=r"eval_gt_video2goods\.txt: line 2: 'abc' is not an id in the released spelling"):
        list(source.ground_truth("test")["video2goods"])


def test_a_corpus_may_be_for_training_alone_or_for_testing_alone(tmp_path: Path) -> None:
    files = real20m_files()
    train_only = write_files(tmp_path / "a", {name: content for name, content in files.items() if not name.startswith("test_file")})
    test_only = write_files(tmp_path / "b", {name: content for name, content in files.items() if not name.startswith("train_file")})

    assert open_source(train_only).splits() == ("train",)
    assert open_source(test_only).splits() == ("test",)


def test_released_file_names_with_a_tail_are_taken(tmp_path: Path) -> None:
    files = real20m_files()
    files["train_file/new_train_98000"] = files.pop("train_file/train.txt")
    files["test_file/all_goods_177839.txt"] = files.pop("test_file/all_goods.txt")

    source = open_source(write_files(tmp_path, files))

    assert source.splits() == ("train", "test")
    assert len(listed(source, "train")) == 6 and listed(source, "test")[0].id == "101"


def test_two_possible_train_files_are_an_error_that_names_both(tmp_path: Path) -> None:
    files = real20m_files()
    files["train_file/train_a.txt"] = files.pop("train_file/train.txt")
    files["train_file/train_b.txt"] = files["train_file/train_a.txt"]

    with pytest.raises(ValueError, match=r"train_a\.txt, train_b\.txt could each be the train file"):
        open_source(write_files(tmp_path, files)).splits()


def test_an_entry_keeps_the_query_unnumbered_until_it_is_listed(tmp_path: Path) -> None:
    assert listed(corpus(tmp_path), "train")[0].queries == (Query(-1, "girl's coat"),)


def live_files() -> dict[str, str | bytes]:
    """The small corpus with two live streams: one in train, found with a good, and one in test."""
    return real20m_files() | {
        "train_file/train.txt": "blue kettle\t101\tNone\t300301\ntea\tNone\t205\n",
        "live/frameid/301/300301.txt": "9/l_0.jpg,9/l_1.jpg\n",
        "live/text/301/300301.txt": "tonight\nKettles live\nnull\n",
        "live/images/9/l_0.jpg": picture((1, 1, 1)),
        "live/images/9/l_1.jpg": picture((2, 2, 2)),
        "test_file/all_lives.txt": "302\tlive\tkettle\t9/l_1.jpg\tnone\n",
        "test_file/live_query.txt": "302\tlive\tkettle\t9/l_1.jpg\tnone\n",
        "test_file/eval_gt_live2goods.txt": "302_0\t101.jpg\n",
        "test_file/eval_gt_video2live.txt": "205_0\t302_0.jpg\n",
    }


def test_live_streams_are_a_fourth_column_and_lie_as_clips_do(tmp_path: Path) -> None:
    source = Real20M(write_files(tmp_path, live_files()))

    entries = listed(source, "train")
    item = source.read(only(source, "train", "300301"))

    assert [(entry.domain, entry.id, entry.queries[0].words) for entry in entries] == [
        ("goods", "101", "blue kettle"),
        ("live", "300301", "blue kettle"),
        ("video", "205", "tea"),
    ]
    assert item.words == {"caption": "tonight", "title": "Kettles live"}
    assert item.media == (tmp_path / "live/images/9/l_0.jpg", tmp_path / "live/images/9/l_1.jpg")


def test_live_streams_of_test_files_are_searched_and_searched_with(tmp_path: Path) -> None:
    test = ShardSet(pack(write_files(tmp_path / "corpus", live_files()), tmp_path / "out", workers=1, splits=["test"])["test"])

    assert test.counts == {"goods": 1, "live": 1, "query": 2, "video": 2}
    (number,) = test.of_domain("live", roles=("both",))
    assert test.shard(number).sample(0).frames() == ["jpg"] and test.shard(number).sample(0).record["labels"] == {"query_words": "kettle"}
    truth = {path.stem: path.read_text() for path in (test.folder / "ground_truth").iterdir()}
    assert truth["live2goods"] == "302\t101\n" and truth["video2live"] == "205\t302\n" and truth["query2live"] == "kettle\t302\n"
    assert set(truth) == {"video2goods", "goods2video", "live2goods", "video2live", "query2goods", "query2live"}


def test_a_corpus_may_have_live_streams_alone_to_test_with(tmp_path: Path) -> None:
    files = {name: content for name, content in live_files().items() if name.startswith("live/") or name == "test_file/live_query.txt"}

    source = open_source(write_files(tmp_path, files))

    assert source.name == "real20m" and [(entry.domain, entry.role) for entry in listed(source, "test")] == [("live", "query")]
