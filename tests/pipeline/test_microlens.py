"""The MicroLens and NUS layouts: tables, labels, media, and the split of MMRA's program."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from sklearn.model_selection import train_test_split

from pipeline.pack import pack
from pipeline.shards import ShardSet
from pipeline.sources import Entry, Rejected, open_source
from pipeline.sources.released_split import released_split
from tests.pipeline.corpora import clip, picture, write_files
from tests.pipeline.little_features import samples
from tests.pipeline.little_pairs import npy


@pytest.mark.parametrize("count", [6, 11, 40, 19_738])
def test_the_split_is_that_of_scikit_learn_as_the_program_calls_it(count: int) -> None:
    train, rest = train_test_split(np.arange(count), test_size=0.2, random_state=9)
    test, val = train_test_split(rest, test_size=0.5, random_state=18)

    found = released_split(count)

    assert {name: places.tolist() for name, places in found.items()} == {"train": train.tolist(), "val": val.tolist(), "test": test.tolist()}
    if count == 19_738:
        assert [len(found[name]) for name in ("train", "val", "test")] == [15_790, 1_974, 1_974]


def microlens(root: Path, count: int = 10, **changed: str | bytes) -> Path:
    """`count` videos with n comments each; the titles of some hold commas and quotes, one video is a file, the others are frames or words alone."""
    titles = {1: "Tea, at five", 2: '"He said ""tea"", twice"', 3: "&lt;3 cats"}
    files: dict[str, str | bytes] = {
        "MicroLens-100k_title_en.csv": "".join(f"{n},{titles.get(n, f'Title {n}')}\n" for n in range(1, count + 1)),
        "MicroLens-100k_comment_en.txt": "".join(f"{user}\t{n}\tnice\n" for n in range(1, count + 1) for user in range(n)) + "and more of it\n",
        "MicroLens-100k_likes_and_views.txt": "".join(f"{n}\t{10 * n}\t{100 * n}\n" for n in range(1, count + 1)),
        "video_frames/2_0.jpg": picture(),
        "video_frames/2_1.jpg": picture(),
        "videos/2.mp4": clip(),
        "videos/3.mp4": clip(),
        "frames/4/b.jpg": picture((9, 9, 9)),
        "frames/4/a.jpg": picture(),
    }
    return write_files(root, {**files, **changed})


def items(root: Path) -> dict[str, tuple[str, Entry]]:
    source = open_source(root)
    found = ((split, entry) for split in source.splits() for entry in source.entries(split))
    return {entry.id: (split, entry) for split, entry in found if isinstance(entry, Entry)}


def test_microlens_is_titles_comments_and_media_by_the_released_split(tmp_path: Path) -> None:
    root = microlens(tmp_path)
    source, found = open_source(root), items(root)
    split = released_split(10)

    assert source.name == "microlens" and source.splits() == ("train", "val", "test")
    assert {id: where for id, (where, _) in found.items()} == {str(place + 1): name for name, places in split.items() for place in places.tolist()}
    assert [entry.id for entry in source.entries("train")] == [str(place + 1) for place in split["train"]]
    read = {id: source.read(entry) for id, (_, entry) in found.items()}
    assert [read[str(n)].words["title"] for n in (1, 2, 3, 4)] == ["Tea, at five", 'He said "tea", twice', "<3 cats", "Title 4"]
    assert dict(read["8"].labels) == {"comments": 8, "popularity": 3.0, "likes": 80, "views": 800}
    media = {n: [str(path.relative_to(root)) for path in read[str(n)].media] for n in (1, 2, 3, 4)}
    assert media == {1: [], 2: ["video_frames/2_0.jpg", "video_frames/2_1.jpg"], 3: ["videos/3.mp4"], 4: ["frames/4/a.jpg", "frames/4/b.jpg"]}


def test_comments_are_counted_in_the_pairs_where_there_is_no_file_of_them_and_captions_are_words(tmp_path: Path) -> None:
    pairs = "user,item,timestamp\n" + "".join(f"{user},{n},17\n" for n in range(1, 11) for user in range(2 * n))
    root = microlens(tmp_path, **{"MicroLens-100k_pairs.csv": pairs, "Microlens100K_captions_en.csv": "4\ta cat, asleep\n"})
    (root / "MicroLens-100k_comment_en.txt").unlink()

    found = items(root)

    assert found["4"][1].labels["comments"] == 8 and found["4"][1].labels["popularity"] == 3
    assert json.loads(found["4"][1].payload) == {"title": "Title 4", "caption": "a cat, asleep"}
    (root / "MicroLens-100k_pairs.csv").unlink()
    with pytest.raises(ValueError, match=r"popularity is the number of comments, which one of them tells"):
        items(root)


def test_a_head_line_is_passed_over_and_lines_at_fault_are_told_once(tmp_path: Path) -> None:
    table = "item,title\n1,One\n2,Two\n2,Two again\nno id,Three\n77,Nobody said a word\n3,Three\n4,Four\n5,Five\n"
    root = microlens(tmp_path, **{"MicroLens-100k_title_en.csv": table})
    source = open_source(root)
    told = [entry for split in source.splits() for entry in source.entries(split) if isinstance(entry, Rejected)]

    assert sorted(items(root)) == ["1", "2", "3", "4", "5"]
    assert sorted((one.id, one.reason) for one in told) == [
        ("2", "line 4: id '2' is on a line before"),
        ("77", "has no comment: its popularity is the logarithm of their number"),
        ("no id", "line 5: id 'no id' is not made of letters, digits, _ and -"),
    ]


def test_microlens_is_packed_with_its_labels_and_without_queries(tmp_path: Path) -> None:
    folders = pack(microlens(tmp_path / "corpus"), tmp_path / "shards", workers=1, vocab_size=0)

    held = {split: samples(ShardSet(folder), "video") for split, folder in folders.items()}
    assert {split: len(one) for split, one in held.items()} == {"train": 8, "val": 1, "test": 1}
    everything = {id: sample for one in held.values() for id, sample in one.items()}
    assert everything["3"].video() == "mp4" and everything["2"].frames() == ["00.jpg", "01.jpg"] and everything["5"].queries() == []
    assert everything["5"].record["labels"]["popularity"] == math.log2(5)


def test_nus_has_counts_and_features_of_frames(tmp_path: Path) -> None:
    rows = "".join(f"v{n}\twatch {n}\t{n}\t{3 * n}\n" for n in range(9)) + "v9\ttoo\tfew\n"
    files = {"nus.tsv": "id\ttext\tloops\tlikes\n" + rows, "features/v1.npy": npy(np.ones((4, 3), np.float32)), "videos/v2.mp4": clip()}
    root = write_files(tmp_path / "corpus", files)
    source = open_source(root)
    told = [entry for split in source.splits() for entry in source.entries(split) if isinstance(entry, Rejected)]

    folders = pack(root, tmp_path / "shards", workers=1, vocab_size=0)
    found = {id: sample for folder in folders.values() for id, sample in samples(ShardSet(folder), "video").items()}

    assert source.name == "nus" and sorted(found) == [f"v{n}" for n in range(9)]
    assert found["v3"].record["labels"] == {"loops": 3, "likes": 9, "popularity": math.log2(1 + (3 + 9) / 2)}
    assert found["v0"].record["labels"]["popularity"] == 0 and found["v3"].words() == {"title": "watch 3"}
    assert "vision.npy" in found["v1"].members and found["v2"].video() == "mp4"
    assert [(one.id, one.reason) for one in told] == [("v9", "line 11: 3 columns, not 4")]


@pytest.mark.parametrize(
    ("table", "message"),
    [("", "its first line has nothing; wanted the names of its columns"), ("id\ttext\n1\tx\n", "one or more of loops, likes, reposts, comments")],
)
def test_a_table_without_counts_is_refused(table: str, message: str, tmp_path: Path) -> None:
    source = open_source(write_files(tmp_path, {"nus.tsv": table}))

    with pytest.raises(ValueError, match=message):
        list(source.entries("train"))


def test_a_count_that_is_none_is_rejected_with_its_line(tmp_path: Path) -> None:
    rows = "".join(f"v{n}\tx\t{-n}\n" for n in range(3))
    source = open_source(write_files(tmp_path, {"nus.tsv": "id\ttext\tloops\n" + rows}))

    told = [entry for split in source.splits() for entry in source.entries(split) if isinstance(entry, Rejected)]

    reasons = [f"line {line}: loops is '{value}'; wanted a count, 0 or more" for line, value in ((3, -1), (4, -2))]
    assert sorted(one.reason for one in told) == reasons
