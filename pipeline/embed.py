"""Embed one domain of a packed split into an HDF5 dump, one file an input shard.

    python -m pipeline.embed --checkpoint RUN --shards SHARDS/test --domain goods --out OUT/dumps/goods
    torchrun --nproc_per_node 8 -m pipeline.embed ...

Ranks take shards from a shared counter, so a slow one does not hold up the rest. Killed and started again, it goes on from the shards
that are complete. Batches never cross a shard, so that the numbers do not depend on how the shards were dealt. Items that cannot be read
are left out and listed in OUT/failed.jsonl, until they are too many (`pipeline.bad_items`).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from evaluate.embeddings import DumpAttributes, finish_dump, is_complete, write_dump_shard
from launch import distributed
from launch.command import CommandParser, run_command
from launch.logs import is_main, progress, say
from launch.lost_rank import ending_when_lost
from launch.own_error import own_error
from pipeline.bad_items import USUAL, BadItemCount, BadItems, add_bad_item_arguments, add_verify_argument, bad_items_of
from pipeline.checkpoint import Loaded, load_checkpoint
from pipeline.precision import autocast, resolve_precision
from pipeline.recipe import Recipe
from pipeline.remote.settings import add_cache_arguments, use_cache
from pipeline.shards import ShardSet
from pipeline.shards.verification import verify
from pipeline.stream import EvaluationBatch, evaluation_batches
from pipeline.system import Embedder


def embed_shards(
    system: Embedder,
    shards: ShardSet,
    domain: str,
    out: str | Path,
    *,
    recipe: Recipe,
    checkpoint: str,
    device: torch.device,
    precision: str,
    batch_size: int,
    workers: int,
    dtype: str = "float32",
    bad_items: BadItems = USUAL,
    quiet: bool = False,
) -> None:
    """Write the dump of `domain` below `out`; all ranks of a job call it together, and return when the dump is whole.

    Args:
        checkpoint: names the weights in the dump (a checksum), so that dumps of two checkpoints are never mixed.
        batch_size: items a forward; the numbers of a dump are reproducible for one batch size.
        workers: loading processes of this rank.
        dtype: "float32" or "float16" of the embeddings in the file.
        bad_items: what is done about items that cannot be read; shards of an earlier start count too.
        quiet: no message and no progress bar.

    Raises:
        ValueError: the split has no item of that domain, more of them cannot be read than may be, or an embedding is not finite; OSError, where only
            this rank, not the first, met it.
    """
    out = Path(out)
    numbers = shards.of_domain(domain)
    if not numbers:
        raise ValueError(f"{shards.folder}: no {domain} item; the split holds {shards.counts}")
    work, items = f"{out.resolve()}:{checkpoint}", sum(shards.shards[number].samples for number in numbers)
    bad = BadItemCount(bad_items, work, items, where=f"{shards.folder}, {domain}", listed=str(out / "failed.jsonl"))
    writer = _Writer(system, shards, domain, out, recipe, checkpoint, dtype, bad)
    take = ShardDealer(work, numbers, writer.is_complete)
    if not quiet:
        say(f"embedding {shards.counts[domain]:,} {domain} items of {shards.folder} into {out}")
    if bad_items.verify:
        verify(shards, numbers, work)
    system.eval()
    preparation = system.preparation(training=False)
    pieces = evaluation_batches(shards, take, preparation, batch_size=batch_size, workers=workers, pin=device.type == "cuda")
    with progress(total=shards.counts[domain] // distributed.world_size(), what=f"embed {domain}", unit="item", quiet=quiet) as bar:
        try:
            for piece in pieces:
                writer.add(piece, _forward(system, piece, domain, device, precision))
                bar.update(piece.last - piece.first)
        except ValueError as error:
            raise own_error(str(error)) from error
    distributed.barrier()
    if is_main():
        finish_dump(out, [shards.shards[number].name for number in numbers], recipe.name)
    distributed.barrier()


@torch.inference_mode()
def _forward(system: Embedder, piece: EvaluationBatch, domain: str, device: torch.device, precision: str) -> np.ndarray:
    if piece.batch is None:
        return np.empty((0, system.embedding_dim), dtype=np.float32)
    batch = {name: value.to(device, non_blocking=True) for name, value in piece.batch.items()}
    with autocast(precision, device):
        return system.embed(batch, domain).float().cpu().numpy()


class ShardDealer:
    """Hands this rank one shard number after the other, each to one rank only, leaving out those that are complete."""

    def __init__(self, name: str, numbers: list[int], done: Callable[[int], bool]) -> None:
        self._counter, self._numbers, self._done = distributed.SharedCounter(name), numbers, done

    def __call__(self) -> int | None:
        while (place := self._counter.next()) < len(self._numbers):
            if not self._done(self._numbers[place]):
                return self._numbers[place]
        return None


class _Writer:
    """Collects the pieces of one shard and writes its dump file when the last one is there."""

    def __init__(
        self, system: Embedder, shards: ShardSet, domain: str, out: Path, recipe: Recipe, checkpoint: str, dtype: str, bad: BadItemCount
    ) -> None:
        self._shards, self._out, self._bad = shards, out, bad
        self._fixed: dict[str, Any] = {
            "domain": domain,
            "dim": system.embedding_dim,
            "normalised": system.normalised,
            "recipe": json.dumps(recipe.to_dict(), sort_keys=True),
            "checkpoint": checkpoint,
            "dtype": dtype,
        }
        self._rows: list[np.ndarray] = []
        self._ids: list[str] = []
        self._labels: list[dict[str, Any]] = []
        self._failures: list[tuple[str, str]] = []

    def _attributes(self, number: int) -> DumpAttributes:
        shard = self._shards.shards[number]
        return DumpAttributes(role=shard.role, shard_checksum=shard.checksum, **self._fixed)

    def _path(self, number: int) -> Path:
        return self._out / f"{self._shards.shards[number].name}.h5"

    def is_complete(self, number: int) -> bool:
        """Whether the shard has its file; then what failed in it is counted, once in a job, since a shard is dealt once."""
        path = self._path(number)
        if not is_complete(path, self._attributes(number)):
            return False
        with h5py.File(path, "r") as file:
            failed = file["failed"].asstr()[:].tolist()
        if failed:
            self._bad.add(len(failed), json.loads(failed[0])["reason"])
        return True

    def add(self, piece: EvaluationBatch, embeddings: np.ndarray) -> None:
        if piece.failures:
            self._bad.add(len(piece.failures), piece.failures[0][1])
        self._rows.append(embeddings)
        self._ids.extend(piece.ids)
        self._labels.extend(piece.labels)
        self._failures.extend(piece.failures)
        if piece.last == self._shards.shards[piece.shard].samples:
            failed = [{"id": item, "reason": reason} for item, reason in self._failures]
            write_dump_shard(self._path(piece.shard), self._rows, self._ids, self._attributes(piece.shard), failed, self._labels)
            self._rows, self._ids, self._labels, self._failures = [], [], [], []


def embed_checkpoint(
    loaded: Loaded,
    shards: ShardSet,
    domain: str,
    out: str | Path,
    *,
    device: torch.device,
    precision: str,
    batch_size: int,
    workers: int,
    dtype: str,
    bad_items: BadItems,
) -> None:
    """`embed_shards` with a checkpoint's system on `device`; precision "auto" and the like are resolved here."""
    system = loaded.system.to(device)
    embed_shards(
        system,
        shards,
        domain,
        out,
        recipe=loaded.recipe,
        checkpoint=loaded.checksum,
        device=device,
        precision=resolve_precision(precision, device),
        batch_size=batch_size,
        workers=workers,
        dtype=dtype,
        bad_items=bad_items,
    )


def add_embedding_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags that decide how a dump is computed; shared by this stage and the evaluate scripts."""
    add_forward_arguments(parser, batch_size=64)
    parser.add_argument(
        "--weights", choices=["live", "ema"], default="live", help="the weights as trained, or their slow average (--trainer.ema_decay; default live)"
    )
    parser.add_argument("--dtype", choices=["float32", "float16"], default="float16", help="of the embeddings in the dump (default float16)")


def add_forward_arguments(parser: argparse.ArgumentParser, *, batch_size: int) -> None:
    """The flags of a stage that runs a model over shards, with its default batch; `start_embedding` looks at them."""
    parser.add_argument("--batch_size", type=int, default=batch_size, help="items a forward (default %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="loading processes a rank (default %(default)s)")
    parser.add_argument(
        "--precision",
        choices=["auto", "fp32", "bf16", "fp16"],
        default="auto",
        help="of the forward; auto = what the machine computes fast (default %(default)s)",
    )
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto", help="auto = GPU where there is one (default %(default)s)")
    parser.add_argument(
        "--threads",
        type=int,
        default=1,
        help="threads of a forward on a CPU; fixed, so that the numbers do not depend on the number of processes (default %(default)s)",
    )
    add_bad_item_arguments(parser, "failed.jsonl")
    add_verify_argument(parser)


def start_embedding(arguments: argparse.Namespace) -> torch.device:
    """Join the job and set the threads as the flags say; returns the device."""
    if arguments.batch_size < 1 or arguments.workers < 0 or arguments.threads < 1:
        raise ValueError("--batch_size and --threads must be at least 1, --workers at least 0")
    bad_items_of(arguments)
    torch.set_num_threads(arguments.threads)
    return distributed.start(arguments.device)


def main(argv: list[str] | None = None) -> None:
    parser = CommandParser("python -m pipeline.embed", __doc__)
    parser.add_argument("--checkpoint", required=True, help="run folder (its best checkpoint, else the latest) or one checkpoint folder")
    parser.add_argument(
        "--shards", required=True, help="packed split, e.g. SHARDS/test; some of its shards; or an address of either (s3://, gs://, https://, pipe:)"
    )
    parser.add_argument("--domain", required=True, help="goods, video, ...")
    parser.add_argument("--out", required=True, help="folder of the dump")
    add_embedding_arguments(parser)
    add_cache_arguments(parser)
    arguments = parser.parse_args(argv)
    use_cache(arguments)
    loaded, shards = load_checkpoint(arguments.checkpoint, arguments.weights), ShardSet(arguments.shards)
    device = start_embedding(arguments)
    try:
        with ending_when_lost("while embedding", "it goes on from the shards that are complete"):
            embed_checkpoint(
                loaded,
                shards,
                arguments.domain,
                arguments.out,
                device=device,
                precision=arguments.precision,
                batch_size=arguments.batch_size,
                workers=arguments.workers,
                dtype=arguments.dtype,
                bad_items=bad_items_of(arguments),
            )
    finally:
        distributed.stop()


if __name__ == "__main__":
    run_command(main)
