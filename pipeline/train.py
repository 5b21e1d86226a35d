"""Train a recipe on a corpus or a packed shard set.

    python -m pipeline.train --recipe qcd:smoke --data CORPUS --out RUN --trainer.max_steps 200
    torchrun --nproc_per_node 8 -m pipeline.train --recipe qcd --data SHARDS --out RUN --encoders.vision models/chinese-clip ...

A corpus is packed first, into RUN/shards (or --shards DIR). Packed shards may be elsewhere (--data s3://bucket/shards, gs://, https://, pipe:).
Started again with the same --out, the run goes on from its newest whole checkpoint.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jsonargparse import ArgumentParser

from evaluate.search import domains_of
from launch import distributed
from launch.command import leave_at_once, run_command
from launch.files import read_json
from launch.logs import is_main, say
from launch.lost_rank import rank_lost, what_was_lost
from launch.seeds import seed_everything
from pipeline.bad_items import add_bad_item_arguments, add_verify_argument, bad_items_of
from pipeline.checkpoint import CheckpointFolder, find_checkpoint, start_from
from pipeline.corpus import Corpus, open_corpus
from pipeline.item import CLIPS
from pipeline.popularity import POPULARITY
from pipeline.precision import resolve_precision
from pipeline.recipe import Recipe, add_recipe_arguments, differences, from_dict, module_of, recipe_from, resolve
from pipeline.remote.settings import add_cache_arguments, use_cache
from pipeline.settings_parser import SettingsParser
from pipeline.shards import ShardSet
from pipeline.shards.mixture import heaviest, mixture_of, read_corpora
from pipeline.shards.verification import verify
from pipeline.sources import READERS
from pipeline.training.trainer import Trainer

FIXED = (
    *("stream.batch_size", "stream.policy", "stream.domains", "stream.window_shards", "stream.cluster_level", "stream.corpora"),
    *("trainer.seed", "trainer.accumulate"),
)
"""Fields that give a position in the stream its meaning: a run that goes on keeps them."""


def train(recipe: Recipe, corpus: Corpus, out: Path, device: str, init: str | None) -> None:
    """Train `recipe` on the train split of `corpus`; checkpoints, logs and validation results appear below `out`.

    Where another rank is gone or silent, this process says so and ends; the last checkpoint stands.

    Raises:
        ValueError: what is asked does not fit the data, the machine or the run that `out` holds already.
    """
    chosen = distributed.start(device, recipe.trainer.timeout_s)
    try:
        shards = mixture_of(recipe.stream.corpora) if recipe.stream.corpora else ShardSet(corpus.pack("train", recipe.packing))
        if corpus.bad_items.verify:
            verify(shards, range(len(shards.shards)), str(out))
        _require_domains(shards, recipe)
        validation = _validation_set(corpus, recipe)
        module, latest = module_of(recipe.name), _reopened(CheckpointFolder(out))
        if chosen.type == "cpu":
            torch.set_num_threads(_threads(recipe))
        seed_everything(recipe.trainer.seed)
        system = module.build(recipe, shards.tokenizer(), shards)
        for split in (shards, validation):
            if split is not None:
                system.require(split)
        trainer = Trainer(recipe, system, shards, validation, out, chosen, corpus.bad_items)
        if latest is not None:
            _same_run(recipe, latest)
            trainer.restore(latest)
            say(f"going on from {latest} (step {trainer.state.step})")
        elif init is not None:
            say(start_from(system, find_checkpoint(init, "--init")))
        trained = sum(p.numel() for p in system.parameters() if p.requires_grad)
        say(
            f"{recipe.name}: {sum(p.numel() for p in system.parameters()) / 1e6:.1f} M parameters, {trained / 1e6:.1f} M trained; "
            f"{', '.join(f'{count:,} {domain}' for domain, count in shards.counts.items())}; "
            f"{distributed.world_size()} x {chosen.type}, {trainer.precision}, batch {recipe.stream.batch_size} x {recipe.trainer.accumulate}"
        )
        try:
            state = trainer.fit()
        except RuntimeError as error:
            if not rank_lost(error):
                raise
            leave_at_once(_what_was_lost(error, trainer))
        say(f"done: {state.step} steps; {out}/checkpoints holds the latest{' and the best' if state.best_step is not None else ''} checkpoint")
    finally:
        distributed.stop()


def _reopened(checkpoints: CheckpointFolder) -> Path | None:
    """The checkpoint to go on from, which rank 0 looks for; its error is that of all ranks."""
    found: Path | ValueError | None = None
    if is_main():
        try:
            found = checkpoints.reopen()
        except ValueError as error:
            found = error
    found = distributed.broadcast_object(found)  # type: ignore[assignment]
    if isinstance(found, ValueError):
        raise found
    return found


def _what_was_lost(error: RuntimeError, trainer: Trainer) -> str:
    latest = trainer.checkpoints.latest()
    return what_was_lost(
        error,
        f"did not answer for {trainer.recipe.trainer.timeout_s:g} s (--trainer.timeout_s)",
        f"after step {trainer.state.step}",
        f"it goes on from {latest}, which is whole" if latest is not None else "it begins anew, since no checkpoint was written yet",
    )


def _threads(recipe: Recipe) -> int:
    """More threads than free cores are worse than one: OpenMP's threads wait by spinning."""
    ranks = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return recipe.trainer.threads or max(1, len(os.sched_getaffinity(0)) // ranks - recipe.stream.workers)


def _require_domains(shards: ShardSet, recipe: Recipe) -> None:
    """Raise ValueError where the split lacks clips, or goods unless clips are trained on by themselves; images and texts for captions. Where goods
    are searched with queries alone, clips are not needed."""
    if recipe.stream.policy == "captions":
        shards.require_domains("image", "text")
        return
    if recipe.stream.policy != "clips":
        shards.require_domains("goods")
    searched_without_clips = all(set(domains_of(task)) == {"query", "goods"} for task in recipe.evaluation.tasks if task != POPULARITY)
    if not searched_without_clips and not any(shards.counts.get(domain) for domain in CLIPS):
        shards.require_domains(CLIPS[0])


def _validation_set(corpus: Corpus, recipe: Recipe) -> ShardSet | None:
    """The val split, packed from the corpus or held out of its training clips; None where there is neither."""
    folder = corpus.validation(recipe.packing)
    if folder is None:
        say("no validation split: no recall while training, no best checkpoint (--packing.holdout_videos N sets clips aside)")
        return None
    shards = ShardSet(folder)
    for task in recipe.evaluation.tasks:
        if task != POPULARITY and shards.ground_truth(task) is None:
            raise ValueError(f"{folder}: no ground truth for {task}; leave it out of --evaluation.tasks or pack the split with it")
    return shards


def _same_run(recipe: Recipe, latest: Path) -> None:
    saved = from_dict(read_json(latest / "recipe.json"))
    changed = differences(saved, recipe)
    broken = [name for name in changed if name in FIXED or name.startswith("system.")]
    if saved.name != recipe.name or broken:
        shown = (
            "; ".join(f"{name} was {changed[name][0]!r}, now {changed[name][1]!r}" for name in broken)
            or f"recipe was {saved.name}, now {recipe.name}"
        )
        raise ValueError(
            f"{latest.parent.parent} holds a run of other settings ({shown}); give another --out, with --init to start from these weights"
        )
    if changed:
        say("changed since the checkpoint: " + "; ".join(f"{name} {was!r} -> {now!r}" for name, (was, now) in changed.items()))


def _parser(recipe: Recipe) -> ArgumentParser:
    parser = SettingsParser("train.sh", __doc__)
    parser.add_argument("--recipe", default=recipe.name, help="recipe and variant, e.g. qcd, qcd:smoke, qcd:photos")
    parser.add_argument("--data", help="corpus root (its layout is recognised), packed shard set, or its address (s3://, gs://, https://, pipe:)")
    parser.add_argument(
        "--train_corpora",
        type=str | list[dict[str, Any]],
        help='packed corpora to train on together and their weights, "A=0.7,B=0.3" (in a YAML file, a list of {shards, weight}); validation is on '
        "that of --data (default: the heaviest)",
    )
    parser.add_argument("--out", required=True, help="folder of the run: checkpoints, logs, packed shards; an unfinished run there goes on")
    parser.add_argument("--source", help=f"reader of the corpus ({', '.join(READERS)}), where recognition fails")
    parser.add_argument("--shards", help="folder for packed shards (default: OUT/shards)")
    parser.add_argument("--init", help="run or checkpoint whose weights a new run starts from")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto", help="where to compute; auto = GPU where there is one")
    add_cache_arguments(parser)
    add_bad_item_arguments(parser, "OUT/bad_items.jsonl")
    add_verify_argument(parser)
    parser.add_argument("--check", action="store_true", help="look at flags and folders, then stop")
    add_recipe_arguments(parser, recipe)
    return parser


def main(argv: list[str] | None = None) -> None:
    words = sys.argv[1:] if argv is None else argv
    names = [
        word.partition("=")[2] or following for word, following in zip(words, [*words[1:], ""]) if word == "--recipe" or word.startswith("--recipe=")
    ]
    recipe = resolve(names[-1] if names else "qcd")
    arguments = _parser(recipe).parse_args(words)
    use_cache(arguments)
    recipe = recipe_from(arguments, recipe)
    if arguments.train_corpora:
        recipe = replace(recipe, stream=replace(recipe.stream, corpora=read_corpora(arguments.train_corpora)))
    data = arguments.data or (heaviest(recipe.stream.corpora) if recipe.stream.corpora else None)
    if data is None:
        raise ValueError("--data is required: the corpus or packed shard set to train on (--train_corpora names several)")
    out = Path(arguments.out)
    corpus = open_corpus(data, source=arguments.source, shards=arguments.shards or out / "shards", bad_items=bad_items_of(arguments))
    if not recipe.stream.corpora:
        corpus.require_split("train")
    module_of(recipe.name).check(recipe)
    resolve_precision(
        recipe.trainer.precision,
        torch.device("cuda" if arguments.device == "auto" and torch.cuda.is_available() else arguments.device.replace("auto", "cpu")),
    )
    if arguments.init is not None:
        find_checkpoint(arguments.init, "--init")
    if arguments.check:
        return
    if is_main():
        os.makedirs(out, exist_ok=True)
    train(recipe, corpus, out, arguments.device, arguments.init)


if __name__ == "__main__":
    run_command(main)
