"""Report on predicted numbers: predictions in, numbers and a page for people out.

    python -m evaluate.prediction_report --predictions OUT/predictions.h5 --out OUT [--cards FOLDER]

writes OUT/metrics.json and OUT/report.html (one file with everything inside): predicted against true, errors by tenth of the true values,
what simpler methods reach, and some items with the neighbours that were looked at. A metric that is not defined (the rank correlation of
equal predictions) is null.

Legend: N items whose true value is known.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from evaluate.judging.prediction_metrics import batched_metrics, prediction_metrics
from evaluate.pages.cards import Cards
from evaluate.pages.prediction_page import render
from evaluate.predictions import Predicted, read_predicted
from launch.command import CommandParser, run_command
from launch.files import whole_file, write_json
from launch.logs import say
from launch.seeds import generator

GROUPS = 10


def report(predicted: Predicted, out: str | Path, cards: str | Path | None = None, *, shown: int = 12, seed: int = 0) -> dict[str, Any]:
    """Write metrics.json and report.html to the folder `out`; returns what metrics.json holds.

    Args:
        cards: folder of cards (`evaluate/pages/cards.py`) under the domain "item"; items are shown by their ids alone without it.
        shown: how many items the page shows.
        seed: draws them.

    Raises ValueError where no item's true value is known.
    """
    out = Path(out)
    metrics = summary(predicted)
    write_json(out / "metrics.json", metrics)
    page = render(predicted, metrics, pick(predicted, shown, seed), Cards(cards), seed)
    with whole_file(out / "report.html") as file:
        file.write(page)
    return metrics


def summary(predicted: Predicted) -> dict[str, Any]:
    """What metrics.json holds: metrics over the whole set, the same averaged by batch as released, those of every baseline, errors by tenth."""
    known = predicted.known
    if not known.any():
        raise ValueError(f"none of {len(known)} items has a true value to compare with; choose a split whose items have the label {predicted.task}")
    true = predicted.true[known]
    own = predicted.predicted[known]
    return {
        "task": predicted.task,
        "split": predicted.split,
        "checkpoint": predicted.checkpoint,
        "bank": predicted.bank,
        "items": len(known),
        "items_evaluated": int(known.sum()),
        "items_without_true_value": int((~known).sum()),
        "items_failed": predicted.failed,
        **_plain(prediction_metrics(own, true)),
        **_plain(batched_metrics(own, true)),
        "baselines": {name: _plain(prediction_metrics(values[known], true)) for name, values in predicted.baselines.items()},
        "by_tenth": tenths(own, true),
    }


def tenths(predicted: np.ndarray, true: np.ndarray) -> list[dict[str, float]]:
    """The items in ten groups of equal size by their true value, lowest first: {"items", "from", "to", "mean_true", "mean_predicted", "mae"}.
    Fewer than ten items make a group each."""
    order = np.argsort(true, kind="stable")
    rows = []
    for group in np.array_split(order, min(GROUPS, len(order))):
        own, values = predicted[group], true[group]
        means = {"mean_true": values.mean(), "mean_predicted": own.mean(), "mae": np.abs(own - values).mean()}
        rows.append({"items": len(group), "from": float(values[0]), "to": float(values[-1]), **{name: float(value) for name, value in means.items()}})
    return rows


def pick(predicted: Predicted, number: int, seed: int) -> list[int]:
    """Places of up to `number` items whose true value is known, drawn by `seed`: half from the better predicted half, half from the other; best
    first."""
    if number < 0:
        raise ValueError(f"{number} items to show: 0 or more")
    known = np.flatnonzero(predicted.known)
    by_error = known[np.argsort(np.abs(predicted.predicted - predicted.true)[known], kind="stable")]
    halves = by_error[: len(known) // 2], by_error[len(known) // 2 :]
    draw = generator("shown", seed)
    chosen = [draw.permutation(half)[:size] for half, size in zip(halves, (number - number // 2, number // 2))]
    error = np.abs(predicted.predicted - predicted.true)
    return sorted((int(place) for half in chosen for place in half), key=lambda place: (error[place], place))


def shown_items(predicted: Predicted, number: int = 12, seed: int = 0) -> dict[str, list[str]]:
    """{"items": ids, "neighbours": ids} that the page shows for the same `number` and `seed`: those that need cards."""
    places = pick(predicted, number, seed)
    near = predicted.neighbours
    neighbours = {id: None for place in places for id in (near.ids[place] if near else ()) if id}
    return {"items": [predicted.ids[place] for place in places], "neighbours": list(neighbours)}


def _plain(metrics: Mapping[str, float]) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else value for name, value in metrics.items()}


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and report."""
    parser = CommandParser("python -m evaluate.prediction_report", __doc__)
    parser.add_argument("--predictions", required=True, metavar="FILE", help="predictions.h5 that pipeline.predict wrote")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="where metrics.json and report.html go")
    parser.add_argument(
        "--cards", metavar="FOLDER", help="words and pictures of the items shown, as pipeline.predict writes them (default: ids only)"
    )
    parser.add_argument("--shown", type=int, default=12, metavar="ITEMS", help="items on the page (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="draws the items on the page (default: %(default)s)")
    given = parser.parse_args(argv)
    metrics = report(read_predicted(given.predictions), given.out, given.cards, shown=given.shown, seed=given.seed)
    say(f"{table(metrics)}\n{metrics['items_evaluated']} items -> {Path(given.out) / 'report.html'}")


def table(metrics: Mapping[str, Any]) -> str:
    """The metrics of the model and of the baselines, a row each."""
    rows = {"the model": metrics, **metrics["baselines"]}
    width = max(map(len, rows)) + 2
    lines = [" " * width + "".join(f"{name:>10}" for name in ("nmse", "mae", "spearman"))]
    for name, values in rows.items():
        cells = ("-" if values[key] is None else f"{values[key]:.4f}" for key in ("nmse", "mae", "spearman"))
        lines.append(f"{name:<{width}}" + "".join(f"{cell:>10}" for cell in cells))
    return "\n".join(lines)


if __name__ == "__main__":
    run_command(main)
