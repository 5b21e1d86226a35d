"""R@k of images and captions, their sum, and folds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from evaluate.dump import Dump
from evaluate.folds import folds
from evaluate.folds import main as folds_main
from evaluate.judging.image_text import image_text_numbers, mean_numbers, table
from evaluate.rsum import main as rsum_main
from evaluate.rsum import rsum
from launch.files import write_json
from tests.evaluate.dumps import write_dump

HITS = {"image2text": {"hit@1": 0.5, "hit@5": 0.75, "hit@10": 1.0}, "text2image": {"hit@1": 0.25, "hit@5": 0.5, "hit@10": 0.5}}


def test_the_sum_is_that_of_six_percentages_and_folds_are_averaged_number_by_number() -> None:
    found = image_text_numbers(HITS)

    assert found == {
        "image2text/R@1": 50,
        "image2text/R@5": 75,
        "image2text/R@10": 100,
        "text2image/R@1": 25,
        "text2image/R@5": 50,
        "text2image/R@10": 50,
        "rsum": 350,
    }
    assert mean_numbers([found, dict.fromkeys(found, 0.0)])["rsum"] == 175
    assert table({"all": found}).splitlines()[1].split() == ["all", "50.0", "75.0", "100.0", "25.0", "50.0", "50.0", "350.0"]


def test_two_evaluations_of_one_checkpoint_and_split_give_a_sum(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for task, metrics in HITS.items():
        write_json(tmp_path / task / "metrics.json", {"task": task, "split": "test", "checkpoint": "a" * 64, **metrics})
    write_json(tmp_path / "other/metrics.json", {"task": "text2image", "split": "val", "checkpoint": "a" * 64, **HITS["text2image"]})

    rsum_main([str(tmp_path / "text2image"), str(tmp_path / "image2text"), "--out", str(tmp_path / "rsum.json")])

    assert json.loads((tmp_path / "rsum.json").read_text())["rsum"] == 350 == json.loads(capsys.readouterr().out.splitlines()[-1])["rsum"]
    with pytest.raises(ValueError, match=r"evaluations of two splits \(test, val\)"):
        rsum([tmp_path / "image2text", tmp_path / "other"])
    with pytest.raises(ValueError, match=r"evaluations of text2image; wanted one of image2text and one of text2image"):
        rsum([tmp_path / "text2image", tmp_path / "other"])
    with pytest.raises(ValueError, match=r"nowhere/metrics.json: no such file; give the --out folders of two evaluations"):
        rsum([tmp_path / "nowhere"])


def test_a_fold_is_searched_by_itself_and_the_best_of_five_captions_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    images = rng.standard_normal((24, 8)).astype(np.float32)
    captions = (np.repeat(images, 5, axis=0) + 1.5 * rng.standard_normal((120, 8))).astype(np.float32)
    owner = np.repeat(np.arange(24), 5)
    pictures, names = [str(n) for n in range(24)], [f"{n // 5}_{n % 5}" for n in range(120)]
    write_dump(tmp_path / "image", [("image", images, pictures)], labels={id: {"fold": n // 12} for n, id in enumerate(pictures)})
    write_dump(tmp_path / "text", [("text", captions, names)], labels={id: {"fold": n // 60} for n, id in enumerate(names)})
    (tmp_path / "truth").mkdir()
    (tmp_path / "truth/image2text.tsv").write_text("".join(f"{n}\t{','.join(f'{n}_{k}' for k in range(5))}\n" for n in range(24)))
    (tmp_path / "truth/text2image.tsv").write_text("".join(f"{name}\t{name.partition('_')[0]}\n" for name in names))

    found = folds(Dump(tmp_path / "image"), Dump(tmp_path / "text"), tmp_path / "truth", tmp_path / "out")

    scores = images @ captions.T
    slow = {}
    for name, chosen in (("0", range(12)), ("1", range(12, 24)), ("all", range(24))):
        rows, columns = np.array(chosen), np.flatnonzero(np.isin(owner, chosen))
        part = scores[np.ix_(rows, columns)]
        own = owner[columns][None] == rows[:, None]
        best = [(part[row] > part[row][own[row]].max()).sum() for row in range(len(rows))]
        one = [(part[:, column] > part[own[:, column], column]).sum() for column in range(len(columns))]
        slow[name] = [100 * np.mean(np.array(ranks) < k) for ranks in (best, one) for k in (1, 5, 10)]
    for name, numbers in {**found["folds"], "all": found["all"]}.items():
        assert list(numbers.values()) == pytest.approx([*slow[name], sum(slow[name])])
    assert list(found["folds"]) == ["0", "1"] and slow["0"] != slow["1"]
    assert found["mean of folds"]["rsum"] == pytest.approx((sum(slow["0"]) + sum(slow["1"])) / 2)
    assert json.loads((tmp_path / "out/folds.json").read_text()) == found

    paths = [
        "--images",
        str(tmp_path / "image"),
        "--texts",
        str(tmp_path / "text"),
        "--ground_truth",
        str(tmp_path / "truth"),
        "--out",
        str(tmp_path),
    ]
    folds_main(paths)
    assert "mean of folds" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"image: no item has the label year; it says which fold an image is in"):
        folds_main([*paths, "--label", "year"])
