"""From media and words to features of frozen models: a shard set of vectors that MQMC, MMRA and others train on.

    python -m pipeline.features --data CORPUS --out FEATURES --vision models/resnet-152 --text models/bert-base-uncased
    torchrun --nproc_per_node 8 -m pipeline.features --data SHARDS --out FEATURES ...

FEATURES/<split> is a shard set like any other: the same items with the same ids, words, queries, labels and ground truth, shard by shard.
In place of images or a video file a sample has vision.npy, float32 [C], the mean over its frames (--pool none: [T, C], the frames apart), and
beside its words words.npy, float32 [D]. What an item lacks has no member; features that it had stay. Items that cannot be read are left out and
listed in failed.jsonl, until they are too many (`pipeline.bad_items`); the ground truth keeps them, so that an evaluation counts what is missing.

A corpus is packed first, into FEATURES/shards (or --shards DIR). Ranks take shards from a shared counter; the bytes do not depend on how many
ranks and workers there are. Killed and started again, it goes on from the shards that are complete; other settings or other weights are refused.
"""

from __future__ import annotations

import argparse
import sys
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import asdict, fields
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

import torch
from jsonargparse import ArgumentParser
from tqdm import tqdm

from launch import distributed
from launch.command import run_command
from launch.logs import progress, say
from launch.own_error import own_error
from pipeline.bad_items import USUAL, BadItemCount, BadItems, bad_items_of
from pipeline.corpus import Corpus, open_corpus
from pipeline.embed import ShardDealer, add_forward_arguments, start_embedding
from pipeline.featuring.folder import Computed, FeatureFolder
from pipeline.featuring.models import FeatureModels, load_models
from pipeline.featuring.settings import FeatureSettings
from pipeline.pack import HELD_OUT
from pipeline.precision import autocast, resolve_precision
from pipeline.recipe import Packing, module_of, resolve
from pipeline.remote.settings import add_cache_arguments, use_cache
from pipeline.settings_parser import SettingsParser
from pipeline.shards import ShardSet
from pipeline.shards.verification import verify
from pipeline.sources import READERS
from pipeline.stream import EvaluationBatch, evaluation_batches


def make_features(
    shards: ShardSet,
    out: str | Path,
    models: FeatureModels,
    *,
    device: torch.device,
    precision: str,
    batch_size: int,
    workers: int,
    overwrite: bool = False,
    bad_items: BadItems = USUAL,
    quiet: bool = False,
) -> ShardSet:
    """Write the features of a packed split into the folder `out` and return the shard set that it then is; all ranks of a job call it together.

    Args:
        models: on `device`.
        batch_size: items a forward; the numbers are reproducible for one batch size. A batch never crosses a shard.
        workers: loading processes of this rank.
        overwrite: replace features that are there.
        bad_items: what is done about items that cannot be read; shards of an earlier start count too.
        quiet: no message and no progress bar.

    Raises:
        ValueError: `out` holds something else or features made otherwise, an item has such a feature already, a feature is not finite, or
            more items cannot be read than may be; OSError, where only this rank, not the first, met it.
    """
    folder = FeatureFolder(shards, Path(out), models.widths)
    plan = _plan(folder, shards, {**models.fingerprint, "precision": precision}, overwrite) if distributed.rank() == 0 else None
    agreed: tuple[str | None, int] = distributed.broadcast_object(plan)  # type: ignore[assignment]
    job, left = agreed
    if job is not None:
        if not quiet:
            made = " and ".join(f"{name} [{width}]" for name, width in models.widths.items())
            say(f"{made} of {left:,} of {len(shards):,} items in {shards.folder}, into {folder.folder}")
        if bad_items.verify:
            verify(shards, range(len(shards.shards)), job)
        bad = BadItemCount(bad_items, job, len(shards), where=str(shards.folder), listed=str(folder.folder / "failed.jsonl"))

        def is_complete(number: int) -> bool:
            found = folder.is_complete(number)
            if found and (failed := folder.failed_in(number)):
                bad.add(len(failed), failed[0]["reason"])
            return found

        take = ShardDealer(job, list(range(len(shards.shards))), is_complete)
        pieces = evaluation_batches(shards, take, models.preparation(), batch_size=batch_size, workers=workers, pin=device.type == "cuda")
        try:
            with progress(total=left // distributed.world_size(), what=f"features {shards.split}", unit="item", quiet=quiet) as bar:
                for number, own in groupby(pieces, key=attrgetter("shard")):
                    folder.write(number, _computed(own, models, shards.shards[number].domain, device, precision, bar, bad))
        except ValueError as error:
            raise own_error(str(error)) from error
        distributed.barrier()
        if distributed.rank() == 0:
            weights = {name: digest for name, digest in models.fingerprint.items() if name.endswith("_weights")}
            folder.finish({"settings": asdict(models.settings), "widths": models.widths, **weights, "precision": precision})
        distributed.barrier()
    finished = ShardSet(folder.folder)
    if not quiet:
        say(f"{folder.folder}: {'' if job else 'already made, '}{summary(finished)}")
    return finished


def _plan(folder: FeatureFolder, shards: ShardSet, made_of: dict[str, Any], overwrite: bool) -> tuple[str | None, int]:
    """A name for the work (None: there is none left) and how many items it is."""
    if not folder.begin(made_of, overwrite):
        return None, 0
    return uuid.uuid4().hex, sum(info.samples for number, info in enumerate(shards.shards) if not folder.is_complete(number))


def _computed(
    pieces: Iterable[EvaluationBatch], models: FeatureModels, domain: str, device: torch.device, precision: str, bar: tqdm, bad: BadItemCount
) -> Iterator[Computed]:
    for piece in pieces:
        if piece.failures:
            bad.add(len(piece.failures), piece.failures[0][1])
        batch = {name: value.to(device, non_blocking=True) for name, value in (piece.batch or {}).items()}
        with autocast(precision, device):
            rows = models.features(batch, len(piece.ids), domain)
        yield piece, rows
        bar.update(piece.last - piece.first)


def summary(shards: ShardSet) -> str:
    """What a finished set of features holds, in a line."""
    counts = ", ".join(f"{count:,} {domain}" for domain, count in shards.counts.items())
    features = [
        f"{name} of {', '.join(f'{count:,} {domain}' for domain, count in by_domain.items())}"
        for name, by_domain in shards.manifest["feature_counts"].items()
    ]
    failed = f"; {shards.manifest['failed']:,} could not be read, see failed.jsonl" if shards.manifest["failed"] else ""
    return f"{counts} in {len(shards.shards):,} shards; {'; '.join(features) or 'no feature'}{failed}"


def settings_of(name: str | None) -> tuple[FeatureSettings, Packing]:
    """What the recipe `name` trains on: its module's `FEATURES`, and how it packs. Without a recipe, the defaults.

    Raises ValueError where the recipe's module names no features.
    """
    if name is None:
        return FeatureSettings(), Packing()
    found = getattr(module_of(name), "FEATURES", None)
    if not isinstance(found, FeatureSettings):
        raise ValueError(f"--recipe {name}: its module names no FEATURES, it trains on the media themselves; leave --recipe out to set flags by hand")
    return found, resolve(name).packing


def split_folders(corpus: Corpus, splits: list[str] | None, packing: Packing) -> dict[str, Path]:
    """The packed splits that are wanted, packed now where they are not; clips that are held out of train come with it. All ranks call it."""
    for split in splits or ():
        corpus.require_split(split)
    found = {split: corpus.pack(split, packing) for split in splits or corpus.splits}
    held_out = corpus.validation(packing) if "train" in found and HELD_OUT not in corpus.splits else None
    return found if held_out is None else {**found, HELD_OUT: held_out}


def _parser(settings: FeatureSettings, packing: Packing) -> ArgumentParser:
    parser = SettingsParser("python -m pipeline.features", __doc__)
    parser.add_argument("--data", required=True, help="corpus root (its layout is recognised), packed shard set, or its address (s3:// …)")
    parser.add_argument("--out", required=True, help="folder for the features, a folder a split; what is unfinished there goes on")
    parser.add_argument("--recipe", help="take the settings of this recipe, e.g. mqmc; flags beside it count more")
    parser.add_argument("--splits", nargs="+", help="splits to compute; null = all that there are")
    parser.add_argument("--source", help=f"reader of the corpus ({', '.join(READERS)}), where recognition fails")
    parser.add_argument("--shards", help="folder for packed shards of a corpus; null = OUT/shards")
    parser.add_argument("--overwrite", action="store_true", help="replace features that are there")
    add_forward_arguments(parser, batch_size=32)
    add_cache_arguments(parser)
    parser.add_argument("--config", action="config", help="YAML file with any of these flags")
    parser.add_argument("--packing", type=Packing, default=packing)
    parser.add_class_arguments(FeatureSettings)
    parser.set_defaults(asdict(settings))
    return parser


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and compute the features."""
    words = sys.argv[1:] if argv is None else argv
    named = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    named.add_argument("--recipe")
    settings, packing = settings_of(named.parse_known_args(words)[0].recipe)
    arguments = _parser(settings, packing).parse_args(words)
    use_cache(arguments)
    settings = FeatureSettings(**{field.name: arguments[field.name] for field in fields(FeatureSettings)})
    packing = arguments.packing if isinstance(arguments.packing, Packing) else Packing(**arguments.packing.as_dict())
    out = Path(arguments.out)
    corpus = open_corpus(arguments.data, source=arguments.source, shards=arguments.shards or out / "shards", bad_items=bad_items_of(arguments))
    models = load_models(settings)
    device = start_embedding(arguments)
    try:
        precision = resolve_precision(arguments.precision, device)
        models.to(device)
        for split, folder in split_folders(corpus, arguments.splits, packing).items():
            make_features(
                ShardSet(folder),
                out / split,
                models,
                device=device,
                precision=precision,
                batch_size=arguments.batch_size,
                workers=arguments.workers,
                overwrite=arguments.overwrite,
                bad_items=bad_items_of(arguments),
            )
    finally:
        distributed.stop()


if __name__ == "__main__":
    run_command(main)
