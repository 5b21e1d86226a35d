"""The numbers that papers on images and captions report: R@1, R@5 and R@10 both ways, in percent, and their sum.

R@k of those papers is the share of queries for which any right answer is among the first k, the best of an image's five captions: `hit@k` here
(recall@k is the share of the right answers that are there, which for captions as queries, of one image each, is the same).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

CUTOFFS = (1, 5, 10)
TASKS = ("image2text", "text2image")
RSUM = "rsum"
"""The sum of all six, 600 at most."""

Numbers = dict[str, float]
"""image2text/R@1 … text2image/R@10 and rsum."""


def image_text_numbers(metrics: Mapping[str, Mapping[str, Any]]) -> Numbers:
    """The six numbers and their sum from the metrics of both tasks, as metrics.json has them."""
    found = {f"{task}/R@{k}": 100 * float(metrics[task][f"hit@{k}"]) for task in TASKS for k in CUTOFFS}
    return found | {RSUM: sum(found.values())}


def mean_numbers(folds: Sequence[Numbers]) -> Numbers:
    """The mean of each number over folds."""
    return {name: sum(fold[name] for fold in folds) / len(folds) for name in folds[0]}


def table(rows: Mapping[str, Numbers]) -> str:
    """The numbers of each row by its name, as lines for a terminal."""
    width = max(map(len, rows))
    heads = [f"{task.replace('2', ' to ')} R@{', '.join(map(str, CUTOFFS))}" for task in TASKS]
    lines = [f"{'':{width}}  {heads[0]:>26}  {heads[1]:>26}  {RSUM:>6}"]
    for name, numbers in rows.items():
        parts = ["".join(f"{numbers[f'{task}/R@{k}']:7.1f}" for k in CUTOFFS) for task in TASKS]
        lines.append(f"{name:{width}}  {parts[0]:>26}  {parts[1]:>26}  {numbers[RSUM]:6.1f}")
    return "\n".join(lines)
