"""predictions.h5 and the report on it: numbers over the whole set, tenths, what is not defined, the page."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from evaluate.prediction_report import main, pick, report, shown_items, summary, tenths
from evaluate.predictions import NeighbourTable, Predicted, read_predicted, write_predicted


def predicted(number: int = 40) -> Predicted:
    """Items whose truth is 0 to n - 1, predicted a half too high; the last one's truth is not known; two neighbours, the first item has but one."""
    true = np.arange(number, dtype=np.float64)
    ids = [f"c{n}" for n in range(number)]
    near = [["a<b>", "n1" if n else ""] for n in range(number)]
    labels = np.stack([true - 1, true + 1], axis=1).astype(np.float32)
    labels[0, 1] = np.nan
    table = NeighbourTable(near, labels, np.where(np.isnan(labels), np.nan, 0.5).astype(np.float32))
    true[-1] = np.nan
    baselines = {"mean": np.full(number, true[:-1].mean()), "ridge": np.arange(number) + 0.25}
    return Predicted("popularity", ids, np.arange(number) + 0.5, true, baselines, table, "test", "abc", 2, "train")


def test_a_file_holds_what_was_written(tmp_path: Path) -> None:
    one = predicted()
    write_predicted(tmp_path / "predictions.h5", one)

    held = read_predicted(tmp_path / "predictions.h5")

    assert (held.task, held.ids, held.split, held.checkpoint, held.failed, held.bank) == ("popularity", one.ids, "test", "abc", 2, "train")
    np.testing.assert_array_equal(held.predicted, one.predicted)
    np.testing.assert_array_equal(held.true, one.true)
    assert list(held.baselines) == ["mean", "ridge"] and held.baselines["ridge"].tolist() == one.baselines["ridge"].tolist()
    assert held.neighbours is not None and one.neighbours is not None and held.neighbours.ids == one.neighbours.ids
    np.testing.assert_array_equal(held.neighbours.labels, one.neighbours.labels)


def test_metrics_are_over_the_items_whose_truth_is_known() -> None:
    metrics = summary(predicted())

    assert (metrics["items"], metrics["items_evaluated"], metrics["items_without_true_value"], metrics["items_failed"]) == (40, 39, 1, 2)
    assert (metrics["mae"], metrics["spearman"]) == (0.5, 1.0)
    assert metrics["nmse"] == pytest.approx(0.25 / np.arange(39).var()) == metrics["nmse_by_256"]
    assert metrics["baselines"]["mean"] == {"mae": pytest.approx(np.abs(np.arange(39) - 19).mean()), "nmse": pytest.approx(1), "spearman": None}


def test_a_metric_that_is_not_defined_is_null_in_the_file_and_said_on_the_page(tmp_path: Path) -> None:
    same = Predicted("popularity", ["a", "b"], np.array([1.0, 1.0]), np.array([3.0, 3.0]))

    report(same, tmp_path)

    text = (tmp_path / "metrics.json").read_text()
    assert "NaN" not in text and json.loads(text)["nmse"] is None and json.loads(text)["mae"] == 2
    assert (tmp_path / "report.html").read_text().count(">–<") >= 4
    with pytest.raises(ValueError, match=r"none of 2 items has a true value to compare with"):
        summary(Predicted("popularity", ["a", "b"], np.ones(2), np.full(2, np.nan)))


def test_tenths_are_of_equal_size_from_the_lowest_truth_up() -> None:
    true = np.array([5.0, 1, 3, 2, 4, 9, 8, 7, 6, 10, 12, 11])
    rows = tenths(true + (true > 6), true)

    assert [row["items"] for row in rows] == [2, 2, 1, 1, 1, 1, 1, 1, 1, 1] and [row["from"] for row in rows] == [1, 3, 5, 6, 7, 8, 9, 10, 11, 12]
    assert [row["mae"] for row in rows] == [0] * 4 + [1] * 6 and rows[0]["mean_true"] == 1.5 and rows[9]["mean_predicted"] == 13
    assert [row["items"] for row in tenths(true[:3], true[:3])] == [1, 1, 1]


def test_the_items_shown_are_half_from_the_better_half_and_the_page_has_them_with_their_neighbours(tmp_path: Path) -> None:
    one = predicted()
    one = Predicted(one.task, one.ids, one.true + np.arange(40) / 10, one.true, one.baselines, one.neighbours)
    chosen = pick(one, 6, seed=3)
    assert len(set(chosen)) == 6 and sum(place < 19 for place in chosen) == 3 and chosen == sorted(chosen) and 39 not in chosen
    assert pick(one, 6, seed=3) == chosen != pick(one, 6, seed=4) and len(pick(one, 100, seed=0)) == 39
    assert shown_items(one, 6, 3)["items"] == [f"c{place}" for place in chosen] and shown_items(one, 6, 3)["neighbours"] == ["a<b>", "n1"]
    write_predicted(tmp_path / "predictions.h5", one)

    main(["--predictions", str(tmp_path / "predictions.h5"), "--out", str(tmp_path), "--shown", "6", "--seed", "3"])

    page = (tmp_path / "report.html").read_text()
    assert all(f'data-item-id="c{place}"' in page for place in chosen) and page.count("data-neighbour-id") == 12
    assert "a&lt;b&gt;" in page and "a<b>" not in page and 'src="http' not in page


def test_the_same_numbers_give_the_same_page(tmp_path: Path) -> None:
    for name in ("one", "two"):
        report(predicted(), tmp_path / name)

    assert (tmp_path / "one/report.html").read_bytes() == (tmp_path / "two/report.html").read_bytes()


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "predictions.h5").write_text("no")

    with pytest.raises(ValueError, match=r"not a whole predictions.h5"):
        read_predicted(tmp_path / "predictions.h5")
    with pytest.raises(ValueError, match=r"no such file; pipeline.predict writes it"):
        read_predicted(tmp_path / "none.h5")
