"""Recall while training: the validation split goes through the same dump, search and metrics as an evaluation."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from evaluate.dump import Dump
from evaluate.ground_truth import read_ground_truth
from evaluate.judged import judge, summary
from evaluate.ranked import Ranked
from evaluate.search import domains_of, search
from launch import distributed
from launch.logs import is_main
from pipeline.embed import embed_shards
from pipeline.recipe import Recipe
from pipeline.shards import ShardSet
from pipeline.system import System


def validate(system: System, shards: ShardSet, recipe: Recipe, out: Path, name: str, device: torch.device, precision: str) -> dict[str, float]:
    """Metrics of every task as "video2goods/recall@10": value, the same on all ranks, which call it together.

    Args:
        out: emptied, then filled with the dumps and ranked lists of this validation.
        name: stands for the weights in the dumps; another one for each validation of a run.
    """
    if is_main():
        shutil.rmtree(out, ignore_errors=True)
    distributed.barrier()
    for domain in sorted({domain for task in recipe.evaluation.tasks for domain in domains_of(task)}):
        embed_shards(
            system,
            shards,
            domain,
            out / domain,
            recipe=recipe,
            checkpoint=name,
            device=device,
            precision=precision,
            batch_size=recipe.evaluation.batch_size,
            workers=recipe.stream.workers,
            dtype=recipe.evaluation.dtype,
            quiet=True,
        )
    metrics: dict[str, float] = {}
    if is_main():
        for task in recipe.evaluation.tasks:
            truth = shards.ground_truth(task)
            assert truth is not None, f"{shards.folder} lacks ground truth for {task}; train checks that before it starts"
            found = evaluate_dumps(out / domains_of(task)[0], out / domains_of(task)[1], task, truth, out / task)
            metrics |= {f"{task}/{key}": value for key, value in found.items()}
    return distributed.broadcast_object(metrics)  # type: ignore[return-value]


def evaluate_dumps(queries: Path, docs: Path, task: str, truth: Path, out: Path) -> dict[str, float]:
    """The metrics of `task` from two dumps, as in metrics.json (numbers alone); ranked.h5 goes to `out`."""
    ranked = Ranked(search(Dump(queries), Dump(docs), out, task, trec=False, quiet=True))
    values = summary(ranked, judge(ranked, read_ground_truth(truth)))
    return {key: value for key, value in values.items() if isinstance(value, int | float) and not isinstance(value, bool)}


def better(names: tuple[str, ...], found: dict[str, float], best: dict[str, float]) -> bool:
    """True where `found` is as good as `best` or better by the first of the metrics `names` in which they differ (lower for median_rank,
    higher for all others): of equals the one trained longer is kept."""
    for name in names:
        if found[name] != best[name]:
            return found[name] < best[name] if name.endswith("median_rank") else found[name] > best[name]
    return True
