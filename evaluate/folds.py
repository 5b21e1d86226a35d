"""Retrieval of images and captions within folds, and over them all: MSCOCO's "1K", the mean over five folds of 1,000 images, and its "5K".

    python -m evaluate.folds --images OUT/dumps/image --texts OUT/dumps/text --ground_truth SHARDS/testall/ground_truth --out OUT/folds

A fold is what has the same value of a label (`fold`, which packing gives to SCAN's splits): its images and captions are searched among themselves,
by the search and the metrics of any evaluation. OUT/folds.json holds the numbers of each fold, their mean, and those over all.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from evaluate.dump import Dump
from evaluate.judging.ground_truth import GroundTruth, read_ground_truth
from evaluate.judging.image_text import TASKS, Numbers, image_text_numbers, mean_numbers, table
from evaluate.judging.judged import judge, summary
from evaluate.labels import LabelValues
from evaluate.ranked import Ranked
from evaluate.search import search
from launch.command import CommandParser, run_command
from launch.files import write_json
from launch.logs import say

MOST = 10
"""Results a query that R@10 needs."""


def folds(images: Dump, texts: Dump, ground_truth: str | Path, out: str | Path, label: str = "fold") -> dict[str, Any]:
    """{"label", "folds": {value: numbers}, "mean of folds": numbers, "all": numbers}, written to OUT/folds.json as well.

    Args:
        ground_truth: folder with a file `<task>.tsv` for each of both tasks.
        out: folder for the ranked lists of each fold and of all.

    Raises ValueError where the images have no such label, and what search and metrics raise.
    """
    values = LabelValues()
    for _ in images.side().label_blocks(label, values):
        pass
    if not values.texts:
        raise ValueError(
            f"{images.folder}: no item has the label {label}; it says which fold an image is in (packing gives it to SCAN's test splits)"
        )
    truth = {task: read_ground_truth(Path(ground_truth) / f"{task}.tsv") for task in TASKS}
    plain = (json.loads(text) for text in values.texts)
    names = sorted((value if isinstance(value, str) else json.dumps(value) for value in plain), key=lambda name: (len(name), name))
    found = {name: _numbers(images, texts, truth, Path(out) / f"fold-{place}", (f"{label}={name}",)) for place, name in enumerate(names)}
    result = {
        "label": label,
        "folds": found,
        "mean of folds": mean_numbers(list(found.values())),
        "all": _numbers(images, texts, truth, Path(out) / "all"),
    }
    write_json(Path(out) / "folds.json", result)
    return result


def _numbers(images: Dump, texts: Dump, truth: dict[str, GroundTruth], out: Path, only: tuple[str, ...] = ()) -> Numbers:
    metrics = {}
    for task, (queries, docs) in zip(TASKS, ((images, texts), (texts, images))):
        ranked = Ranked(search(queries, docs, out / task, task, MOST, trec=False, quiet=True, only=only, queries_only=only))
        metrics[task] = summary(ranked, judge(ranked, truth[task]), cutoffs=())
    return image_text_numbers(metrics)


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and report."""
    parser = CommandParser("python -m evaluate.folds", __doc__)
    parser.add_argument("--images", required=True, metavar="DUMP", help="embedded images")
    parser.add_argument("--texts", required=True, metavar="DUMP", help="embedded captions")
    parser.add_argument("--ground_truth", required=True, metavar="FOLDER", help=f"folder with {' and '.join(f'{task}.tsv' for task in TASKS)}")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="where folds.json and the ranked lists go")
    parser.add_argument("--label", default="fold", help="label that says which fold an item is in (default: %(default)s)")
    given = parser.parse_args(argv)
    found = folds(Dump(given.images), Dump(given.texts), given.ground_truth, given.out, given.label)
    say(table({**{f"fold {name}": row for name, row in found["folds"].items()}, "mean of folds": found["mean of folds"], "all": found["all"]}))


if __name__ == "__main__":
    run_command(main)
