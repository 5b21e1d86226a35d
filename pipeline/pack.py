"""Pack a corpus into WebDataset shards, a folder for each of its splits.

    python -m pipeline.pack --data CORPUS --out SHARDS
    torchrun --nproc_per_node 8 -m pipeline.pack --data CORPUS --out SHARDS --workers 2

The layout of the corpus is recognised (`pipeline.sources`; --source overrides). SHARDS/<split> holds what `pipeline.shards` describes,
the same bytes however many processes worked. Killed at any moment and run again, packing goes on from the shards that are complete;
media files are taken not to have changed meanwhile. A finished split of the same corpus and settings is left as it is.

Every split but train also gets the queries that people typed as items of domain query, to be searched with (`pipeline.packing.queries`).

Items that cannot be packed (a missing or damaged file, a text with the wrong number of lines, a path out of the corpus, an id that was there
already) are left out and listed in SHARDS/<split>/rejected.jsonl with the reason, until they are too many (`pipeline.bad_items`).
"""

from __future__ import annotations

import json
import shutil
import uuid
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from launch import distributed
from launch.command import CommandParser, run_command
from launch.files import checksum, read_json, write_json
from launch.logs import say
from launch.own_error import own_error
from pipeline.bad_items import USUAL, BadItemCount, BadItems, add_bad_item_arguments
from pipeline.packing.finish import finish, shown, summary, write_rejected
from pipeline.packing.listing import Listing, write_listing
from pipeline.packing.workers import default_workers, write_shards
from pipeline.packing.writer import Job
from pipeline.regions import KeptRegions
from pipeline.shards import FORMAT_VERSION, MANIFEST, WORK_FOLDER, is_shard_set
from pipeline.sources import READERS, Source, open_source

HELD_OUT = "val"


@dataclass(frozen=True)
class Settings:
    """How a corpus is packed; see `main` for what each means."""

    shard_samples: int
    resize_short_side: int | None
    holdout_videos: int
    holdout_goods: int
    vocab_size: int
    regions: KeptRegions


def pack(
    data: str | Path,
    out: str | Path,
    *,
    source: str | None = None,
    splits: list[str] | None = None,
    workers: int | None = None,
    shard_samples: int = 1000,
    resize_short_side: int | None = None,
    holdout_videos: int = 0,
    holdout_goods: int = 20_000,
    vocab_size: int = 8000,
    regions: int = 0,
    region_type: str = "float16",
    on_bad_item: str = USUAL.on_bad_item,
    max_bad_items: str = USUAL.max_bad_items,
    overwrite: bool = False,
) -> dict[str, Path]:
    """Pack the corpus at `data` into folders below `out` and return split -> folder; `main` says what the arguments mean.

    All ranks of a torchrun job call it together. Splits that are packed already are returned as they are.

    Raises:
        ValueError: no such corpus or split, settings that do not fit it, `out` holds something else, or more items were rejected than may be.
    """
    if is_shard_set(data):
        raise ValueError(f"{data}: a packed shard set already; --data names the root of a corpus")
    corpus, out = open_source(data, source), Path(out)
    if regions < 0 or region_type not in ("float16", "float32"):
        raise ValueError(f"--regions {regions} --region_type {region_type}: 0 (all) or more regions, float16 or float32")
    kept = KeptRegions(regions, region_type)  # type: ignore[arg-type]
    settings = Settings(shard_samples, resize_short_side, holdout_videos, holdout_goods, vocab_size, kept)
    wanted = splits or list(corpus.splits())
    bad_items = BadItems(on_bad_item, max_bad_items)
    _check(corpus, out, wanted, settings)
    folders: dict[str, Path] = {}
    for split in wanted:
        made = (HELD_OUT, split) if split == "train" and holdout_videos else (split,)
        _pack_listed(corpus, out, split, made, settings, workers or default_workers(), bad_items, overwrite)
        folders.update({name: out / name for name in made})
    return folders


def _check(corpus: Source, out: Path, wanted: list[str], settings: Settings) -> None:
    has = corpus.splits()
    for split in wanted:
        if split not in has:
            raise ValueError(f"{corpus.root}: no split {split}; it has {', '.join(has)}")
    if out.resolve().is_relative_to(corpus.root.resolve()):
        raise ValueError(f"--out {out} lies inside the corpus {corpus.root}; give a folder outside it")
    if settings.holdout_videos and HELD_OUT in has:
        raise ValueError(f"--holdout_videos {settings.holdout_videos}: {corpus.root} has a split {HELD_OUT} of its own; leave the option out")
    for name, least in (("shard_samples", 1), ("resize_short_side", 1), ("holdout_videos", 0), ("holdout_goods", 1), ("vocab_size", 0)):
        value = getattr(settings, name)
        if value is not None and value < least:
            raise ValueError(f"--{name} {value}: must be at least {least}")


def _pack_listed(
    corpus: Source, out: Path, split: str, made: tuple[str, ...], settings: Settings, workers: int, bad_items: BadItems, overwrite: bool
) -> None:
    """Pack split `split` of the corpus into the splits `made`: itself and, where clips are held out, split val."""
    path = out / f".{split}.listing.sqlite"
    plan = _plan(corpus, out, split, made, settings, path, bad_items.stops, overwrite) if distributed.rank() == 0 else None
    agreed: tuple[dict[str, dict[str, Any]], str] = distributed.broadcast_object(plan)  # type: ignore[assignment]
    inputs, job_name = agreed
    ranks = distributed.world_size()
    for name in inputs:
        with closing(Listing(path)) as listing:
            job = Job(corpus, path, out / name, name, json.dumps(inputs[name]), settings.resize_short_side, bad_items.stops, settings.regions)
            counter = distributed.SharedCounter(f"pack/{job_name}/{name}")
            items = listing.items(name)
            unlisted = sum(1 for _ in listing.rejected()) if name == split else 0
            listed = str(job.folder / "rejected.jsonl")
            bad = BadItemCount(bad_items, f"{job_name}/{name}", items + unlisted, where=str(job.folder), listed=listed)
            try:
                if unlisted and distributed.rank() == 0:
                    bad.add(unlisted, shown(next(listing.rejected())))
                shards = len(listing.shards(name))
                with closing(write_shards(job, counter.next, shards=shards, items=items // ranks, workers=workers)) as writing:
                    for written in writing:
                        if written.rejected:
                            bad.add(len(written.rejected), shown(written.rejected[0]))
            except ValueError as error:
                write_rejected(job.folder, name, listing, name == split)
                raise own_error(str(error)) from error
            distributed.barrier()
            if distributed.rank() == 0:
                vocab_size = settings.vocab_size if name == "train" else 0
                finish(job.folder, name, corpus.name, listing, inputs[name], list_rejected=name == split, vocab_size=vocab_size)
    distributed.barrier()
    if distributed.rank() == 0:
        path.unlink(missing_ok=True)


def _plan(
    corpus: Source, out: Path, split: str, made: tuple[str, ...], settings: Settings, listing: Path, stop_at_bad: bool, overwrite: bool
) -> tuple[dict[str, dict[str, Any]], str]:
    """What is still to be packed, split -> its inputs, listed in the file `listing` where it is anything; and a name for this work."""
    inputs = {name: _inputs(corpus, split, name, settings) for name in made}
    unfinished = {name: inputs[name] for name in made if not _is_packed(out / name, inputs[name], overwrite)}
    for leftover in out.glob(f".{listing.name}.*.tmp"):
        leftover.unlink()
    if unfinished:
        holdout_videos = settings.holdout_videos if split == "train" else 0
        write_listing(
            listing,
            corpus,
            split,
            shard_samples=settings.shard_samples,
            holdout_videos=holdout_videos,
            holdout_goods=settings.holdout_goods,
            stop_at_bad=stop_at_bad,
        )
    return unfinished, uuid.uuid4().hex


def _inputs(corpus: Source, listed: str, split: str, settings: Settings) -> dict[str, Any]:
    """What the bytes of a packed split depend on, media files aside."""
    inputs: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "source": corpus.name,
        "files": {str(path.relative_to(corpus.root)): checksum(path) for path in corpus.list_files(listed)},
        "shard_samples": settings.shard_samples,
        "resize_short_side": settings.resize_short_side,
    }
    if listed == "train":
        inputs |= {"holdout_videos": settings.holdout_videos}
    if split == "train":
        inputs |= {"vocab_size": settings.vocab_size}
    if listed != split:
        inputs |= {"holdout_goods": settings.holdout_goods}
    if settings.regions != KeptRegions():
        inputs |= {"regions": asdict(settings.regions)}
    return inputs


def _is_packed(folder: Path, inputs: dict[str, Any], overwrite: bool) -> bool:
    """True where `folder` is the finished split for `inputs`. Otherwise it is made ready to be packed into, or to be gone on with.

    Raises ValueError where it holds something else that may not be replaced.
    """
    work, manifest = folder / WORK_FOLDER, folder / MANIFEST
    if folder.is_dir() and any(folder.iterdir()):
        if not (is_shard_set(folder) and (manifest.is_file() or work.is_dir())):
            raise ValueError(f"{folder}: not empty and not a packed split; give another --out")
        if overwrite:
            shutil.rmtree(folder)
        elif manifest.is_file():
            changed = _changes(read_json(manifest)["inputs"], inputs)
            if changed:
                raise ValueError(f"{folder}: packed from other inputs ({changed}); give another --out, or --overwrite to pack it again")
            shutil.rmtree(work, ignore_errors=True)
            say(f"{folder}: already packed, {summary(read_json(manifest))}")
            return True
        elif (work / "inputs.json").is_file() and (changed := _changes(read_json(work / "inputs.json"), inputs)):
            say(f"{folder}: was begun with other inputs ({changed}); packing it from the start")
            shutil.rmtree(folder)
    work.mkdir(parents=True, exist_ok=True)
    for leftover in [*folder.glob(".*.tmp"), *work.glob(".*.tmp")]:
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    write_json(work / "inputs.json", inputs)
    return False


def _changes(was: dict[str, Any], now: dict[str, Any]) -> str:
    old, new = ({**inputs, "files": None, **{f"file {name}": digest[:12] for name, digest in inputs["files"].items()}} for inputs in (was, now))
    return "; ".join(f"{key} was {old.get(key)}, now {new.get(key)}" for key in sorted({*old, *new}) if old.get(key) != new.get(key))


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and pack."""
    parser = CommandParser("python -m pipeline.pack", __doc__)
    parser.add_argument("--data", required=True, metavar="CORPUS", help="root of the corpus")
    parser.add_argument("--out", required=True, metavar="SHARDS", help="folder for the packed splits, outside the corpus")
    parser.add_argument("--source", help=f"{', '.join(READERS)} (default: recognised by the corpus' files)")
    parser.add_argument("--splits", nargs="+", help="splits to pack (default: all that the corpus has)")
    parser.add_argument("--workers", type=int, help="packing processes on each rank (default: the machine's cores, shared by its ranks)")
    parser.add_argument("--shard_samples", type=int, default=1000, help="most samples in a shard; fewer for large video files (default: %(default)s)")
    parser.add_argument("--resize_short_side", type=int, metavar="PIXELS", help="shrink images whose shorter side is longer (default: keep)")
    parser.add_argument("--holdout_videos", type=int, default=0, help=f"training clips that become split {HELD_OUT} (default: %(default)s)")
    parser.add_argument("--holdout_goods", type=int, default=20_000, help="goods there, or all that share a query with them (default: %(default)s)")
    parser.add_argument("--vocab_size", type=int, default=8000, help="entries of the train split's vocabulary; 0 = none (default: %(default)s)")
    parser.add_argument("--regions", type=int, default=0, help="largest regions kept of an item that has some; 0 = all (default: %(default)s)")
    parser.add_argument("--region_type", choices=("float16", "float32"), default="float16", help="of their features (default: %(default)s)")
    add_bad_item_arguments(parser, "rejected.jsonl")
    parser.add_argument("--overwrite", action="store_true", help="pack splits again that are packed already")
    arguments = vars(parser.parse_args(argv))
    distributed.start("cpu", timeout_s=24 * 3600.0)
    try:
        pack(**arguments)
    finally:
        distributed.stop()


if __name__ == "__main__":
    run_command(main)
