"""Metrics while training: the validation split goes through the same dump, search and metrics as an evaluation."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import torch

from evaluate.dump import Dump
from evaluate.judging.ground_truth import read_ground_truth
from evaluate.judging.image_text import RSUM, TASKS, image_text_numbers
from evaluate.judging.judged import judge, summary
from evaluate.pools import search_pools
from evaluate.ranked import Ranked
from evaluate.search import domains_of, search
from launch import distributed
from launch.logs import is_main
from pipeline.bad_items import USUAL, BadItems
from pipeline.embed import embed_shards
from pipeline.popularity import POPULARITY, metrics_of, predict_shards
from pipeline.recipe import Recipe
from pipeline.rerank import rerank
from pipeline.shards import ShardSet
from pipeline.system import System

LOWER_IS_BETTER = ("median_rank", "mae", "nmse")


def validate(
    system: System, shards: ShardSet, recipe: Recipe, out: Path, name: str, device: torch.device, precision: str, bad_items: BadItems = USUAL
) -> dict[str, float]:
    """Metrics of every task as "video2goods/recall@10" or "popularity/nmse": value, and of images and captions `rsum`, the same on all ranks, which
    call it together. One that is not defined for these items (the rank correlation of equal predictions) is left out.

    Args:
        out: emptied, then filled with the dumps and ranked lists of this validation.
        name: stands for the weights in the dumps; another one for each validation of a run.
    """
    if is_main():
        shutil.rmtree(out, ignore_errors=True)
    distributed.barrier()
    forward: dict[str, Any] = {"recipe": recipe, "checkpoint": name, "device": device, "precision": precision, "quiet": True, "bad_items": bad_items}
    forward |= {"batch_size": recipe.evaluation.batch_size, "workers": recipe.stream.workers}
    searched = [task for task in recipe.evaluation.tasks if task != POPULARITY]
    for domain in sorted({domain for task in searched for domain in domains_of(task)}):
        embed_shards(system, shards, domain, out / domain, dtype=recipe.evaluation.dtype, **forward)
    metrics: dict[str, float] = {}
    if POPULARITY in recipe.evaluation.tasks:
        found = metrics_of(predict_shards(system, shards, out / POPULARITY, **forward))
        metrics |= {f"{POPULARITY}/{key}": value for key, value in found.items() if not math.isnan(value)}
    if is_main():
        of_task = {}
        for task in searched:
            truth = shards.ground_truth(task)
            assert truth is not None, f"{shards.folder} lacks ground truth for {task}; train checks that before it starts"
            ranked = proposed(out, task, out / task, shards.pools(task) if recipe.evaluation.pools else None)
            if system.scores_pairs:
                how: dict[str, Any] = {
                    "device": device,
                    "precision": precision,
                    "batch_size": recipe.evaluation.batch_size,
                    "workers": recipe.stream.workers,
                }
                ranked = rerank(system, shards, ranked, out / task / "scored", recipe.evaluation.reranked, trec=False, quiet=True, **how)
            of_task[task] = found = numbers_of(ranked, truth)
            metrics |= {f"{task}/{key}": value for key, value in found.items()}
        if set(TASKS) <= set(searched):
            metrics[RSUM] = image_text_numbers(of_task)[RSUM]
    return distributed.broadcast_object(metrics)  # type: ignore[return-value]


def proposed(dumps: Path, task: str, out: Path, pools: Path | None = None) -> Ranked:
    """Lists of `task` by products of embeddings: of all documents, or of each query's candidates in the file `pools`.

    Args:
        dumps: folder of a dump for each domain.
        out: where ranked.h5 goes.
    """
    queries, docs = (Dump(dumps / domain) for domain in domains_of(task))
    if pools is not None:
        return Ranked(search_pools(queries, docs, pools, out, task, trec=False, quiet=True))
    # On the processor: the cards are full of the training.
    return Ranked(search(queries, docs, out, task, trec=False, quiet=True, engine="faiss", device="cpu"))


def numbers_of(ranked: Ranked, truth: Path) -> dict[str, float]:
    """The metrics of lists, as in metrics.json (numbers alone)."""
    values = summary(ranked, judge(ranked, read_ground_truth(truth)))
    return {key: value for key, value in values.items() if isinstance(value, int | float) and not isinstance(value, bool)}


def better(names: tuple[str, ...], found: dict[str, float], best: dict[str, float]) -> bool:
    """True where `found` is as good as `best` or better by the first of the metrics `names` in which they differ (LOWER_IS_BETTER by their last
    word, all others higher): of equals the one trained longer is kept."""
    for name in names:
        if found[name] != best[name]:
            return (found[name] < best[name]) == (name.rpartition("/")[2] in LOWER_IS_BETTER)
    return True
