"""MMRA under torchrun: 2 and 3 ranks end with the weights, the validation, the predictions and the neighbours of one process."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from evaluate.predictions import read_predicted
from pipeline.predict import main as predict
from pipeline.shards import ShardSet
from tests.pipeline.little_popularity import new_system, packed_law, recipe
from tests.pipeline.little_run import weights


def commands_for(folder: Path) -> dict[int, list[list[str]]]:
    """The same three steps by 1, 2 and 3 ranks."""
    features = packed_law(folder)
    return {ranks: [["tests.pipeline.little_popularity", str(features), str(folder / str(ranks))]] for ranks in (1, 2, 3)}


@pytest.mark.parametrize("ranks", [2, 3])
def test_many_ranks_end_with_the_weights_of_one_process_on_the_whole_batch(runs: dict[int, Path], ranks: int) -> None:
    one, many = weights(runs[1]), weights(runs[ranks])
    untrained = new_system(recipe(3), ShardSet(runs[0] / "train")).state_dict()

    assert one.keys() == many.keys() == untrained.keys()
    assert (
        max((one[name] - value).abs().max().item() for name, value in untrained.items()) > 1e-2
    )  # equality below is not that of runs that stood still
    assert max((one[name] - many[name]).abs().max().item() for name in one) < 1e-5


@pytest.mark.parametrize("ranks", [2, 3])
def test_many_ranks_log_and_validate_as_one_process_does(runs: dict[int, Path], ranks: int) -> None:
    one, many = ([json.loads(line) for line in (runs[number] / "log.jsonl").read_text().splitlines()] for number in (1, ranks))

    names = ("squared_error", "validation/popularity/nmse", "validation/popularity/mae", "validation/popularity/spearman")
    assert len(one) == len(many) == 4
    for name in names:
        assert [line[name] for line in many if name in line] == pytest.approx([line[name] for line in one if name in line], rel=1e-4)
    assert "validation/popularity/nmse" in one[-1]


@pytest.mark.parametrize("ranks", [2, 3])
def test_one_checkpoint_predicts_the_same_with_any_number_of_ranks(runs: dict[int, Path], ranks: int, tmp_path: Path) -> None:
    predict(["--checkpoint", str(runs[ranks]), "--data", str(runs[0]), "--out", str(tmp_path), "--workers", "0", "--baselines", "none"])

    one, many = read_predicted(tmp_path / "predictions.h5"), read_predicted(runs[ranks] / "test/predictions.h5")
    assert one.ids == many.ids and one.predicted.tolist() == many.predicted.tolist() and len(one.ids) == 12


@pytest.mark.parametrize("ranks", [2, 3])
def test_many_ranks_find_the_neighbours_that_one_finds(runs: dict[int, Path], ranks: int) -> None:
    for split in ("train", "val", "test"):
        one, many = (np.load(folder / split / "neighbours.npy") for folder in (runs[0], runs[ranks] / "features"))
        assert one.tobytes() == many.tobytes() and len(one) > 0
