from __future__ import annotations

import numpy as np
import pytest

from evaluate.judging import ground_truth
from evaluate.judging.ground_truth import GroundTruth, read_ground_truth, released_id


def test_the_released_form_is_read(tmp_path):
    file = tmp_path / "truth.tsv"
    file.write_text("v1\tg1,g2,g1\n\nv 2\tg3\r\nv3\t\n", encoding="utf-8")

    truth = read_ground_truth(file)

    assert truth.relevant == {"v1": ("g1", "g2"), "v 2": ("g3",), "v3": ()}


@pytest.mark.parametrize("line", ["v1\tg1", "v1 0 g1 1"])
def test_a_byte_order_mark_is_no_part_of_the_first_query(tmp_path, line):
    (tmp_path / "truth.tsv").write_text(line, encoding="utf-8-sig")

    assert read_ground_truth(tmp_path / "truth.tsv").relevant == {"v1": ("g1",)}


@pytest.mark.parametrize("between", [" ", "\t", "   "])
def test_trec_qrels_are_read_and_relevance_0_is_not_relevant(tmp_path, between):
    file = tmp_path / "qrels.txt"
    lines = ["v1 0 g1 1", "v1 0 g2 0", "v2 0 g%203 2", "v1 0 g1 1", "v3 0 g1 -1"]
    file.write_text("\n".join(line.replace(" ", between) for line in lines))

    truth = read_ground_truth(file)

    assert truth.relevant == {"v1": ("g1",), "v2": ("g 3",), "v3": ()}


def test_the_released_spelling_is_undone_only_on_request(tmp_path):
    file = tmp_path / "truth.tsv"
    file.write_text("3000003_0\t1000001.jpg,1000008.jpg\nshirt_0\tmug_0\n")

    assert read_ground_truth(file).relevant == {"3000003_0": ("1000001.jpg", "1000008.jpg"), "shirt_0": ("mug_0",)}
    assert read_ground_truth(file, released_ids=True).relevant == {"3000003": ("1000001", "1000008"), "shirt": ("mug",)}
    plain = {"3000003_0": "3000003", "1000001.jpg": "1000001", "7_0.jpg": "7", "3000003": "3000003", "a_01": "a_01"}
    assert {text: released_id(text) for text in plain} == plain


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("v1\tg1\nv2 g2\n", "line 2 has 1 columns, not `query id TAB relevant ids`: 'v2 g2'"),
        ("v1\tg1\textra\n", "line 1 has 3 columns"),
        ("v1\tg1,,g2\n", "line 1 has an empty id between commas"),
        ("\tg1\n", "line 1 has 2 columns"),
        ("v1 0 g1 1\nv1 0 g2\n", "line 2 has 3 columns, not `query 0 document relevance`"),
        ("v1 0 g1 1\nv1 0 g2 high\n", "line 2 has the relevance 'high'; give a number, above 0 for a relevant document"),
        ("v1 0 g1 nan\n", "line 1 has the relevance 'nan'"),
        ("\n", "no line in it"),
    ],
)
def test_a_broken_line_is_named_with_its_file(tmp_path, text, said):
    file = tmp_path / "truth.tsv"
    file.write_text(text)

    with pytest.raises(ValueError) as caught:
        read_ground_truth(file)

    assert said in str(caught.value) and "truth.tsv" in str(caught.value)


def test_a_file_that_is_missing_or_no_text_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere.tsv: no such file"):
        read_ground_truth(tmp_path / "nowhere.tsv")
    (tmp_path / "picture.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(ValueError, match=r"picture.jpg: not UTF-8 text"):
        read_ground_truth(tmp_path / "picture.jpg")


def test_the_real_files_of_the_release_layout_are_read(test_data):
    folder = test_data / "data" / "grocery" / "test_file"

    video2goods = read_ground_truth(folder / "eval_gt_video2goods.txt", released_ids=True)
    goods2video = read_ground_truth(folder / "eval_gt_good2video.txt", released_ids=True)

    assert len(video2goods.relevant) == 67 and video2goods.relevant["3000003"] == ("1000001",)
    assert len(goods2video.relevant) == 60 and goods2video.relevant["1000001"] == ("3000003", "3000006")


def test_many_lines_are_gathered_as_a_dict_of_dicts_would(monkeypatch):
    monkeypatch.setattr(ground_truth, "LINES_AT_ONCE", 7)
    draw = np.random.default_rng(0)
    pairs = [(f"v{draw.integers(40)}", [f"g{'é' * (row % 2)}{row}" for row in draw.integers(0, 30, draw.integers(0, 5))]) for _ in range(100)]

    truth = GroundTruth.of_pairs(pairs)

    slow: dict[str, dict[str, None]] = {}
    for query, ids in pairs:
        slow.setdefault(query, {}).update(dict.fromkeys(ids))
    assert list(truth.relevant.items()) == [(query, tuple(ids)) for query, ids in slow.items()]
    assert truth.counts.tolist() == [len(ids) for ids in slow.values()]
    assert "v99" not in truth.relevant and truth.relevant.get("a query longer than any other", ("none",)) == ("none",)
