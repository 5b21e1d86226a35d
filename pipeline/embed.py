"""Embed one domain of a packed split into an HDF5 dump, one file an input shard.

    python -m pipeline.embed --checkpoint RUN --shards SHARDS/test --domain goods --out OUT/dumps/goods
    torchrun --nproc_per_node 8 -m pipeline.embed ...

Ranks take shards from a shared counter, so a slow one does not hold up the rest. Killed and started again, it goes on from the shards
that are complete. Batches never cross a shard, so that the numbers do not depend on how the shards were dealt.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from evaluate.embeddings import DumpAttributes, finish_dump, is_complete, write_dump_shard
from launch import distributed
from launch.command import CommandParser, run_command
from launch.logs import is_main, progress, say
from launch.lost_rank import ending_when_lost
from pipeline.checkpoint import Loaded, load_checkpoint
from pipeline.precision import autocast, resolve_precision
from pipeline.recipe import Recipe
from pipeline.shards import ShardSet
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
    quiet: bool = False,
) -> None:
    """Write the dump of `domain` below `out`; all ranks of a job call it together, and return when the dump is whole.

    Args:
        checkpoint: names the weights in the dump (a checksum), so that dumps of two checkpoints are never mixed.
        batch_size: items a forward; the numbers of a dump are reproducible for one batch size.
        workers: loading processes of this rank.
        dtype: "float32" or "float16" of the embeddings in the file.
        quiet: no message and no progress bar.

    Raises:
        ValueError: the split has no item of that domain, none of them could be read, or an embedding is not finite.
    """
    out = Path(out)
    numbers = shards.of_domain(domain)
    if not numbers:
        raise ValueError(f"{shards.folder}: no {domain} item; the split holds {shards.counts}")
    writer = _Writer(system, shards, domain, out, recipe, checkpoint, dtype)
    take = ShardDealer(f"{out.resolve()}:{checkpoint}", numbers, writer.is_complete)
    if not quiet:
        say(f"embedding {shards.counts[domain]:,} {domain} items of {shards.folder} into {out}")
    system.eval()
    preparation = system.preparation(training=False)
    pieces = evaluation_batches(shards, take, preparation, batch_size=batch_size, workers=workers, pin=device.type == "cuda")
    with progress(total=shards.counts[domain] // distributed.world_size(), what=f"embed {domain}", unit="item", quiet=quiet) as bar:
        for piece in pieces:
            writer.add(piece, _forward(system, piece, domain, device, precision))
            bar.update(piece.last - piece.first)
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

    def __init__(self, system: Embedder, shards: ShardSet, domain: str, out: Path, recipe: Recipe, checkpoint: str, dtype: str) -> None:
        self._shards, self._out = shards, out
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
        return is_complete(self._path(number), self._attributes(number))

    def add(self, piece: EvaluationBatch, embeddings: np.ndarray) -> None:
        self._rows.append(embeddings)
        self._ids.extend(piece.ids)
        self._labels.extend(piece.labels)
        self._failures.extend(piece.failures)
        if piece.last == self._shards.shards[piece.shard].samples:
            failed = [{"id": item, "reason": reason} for item, reason in self._failures]
            write_dump_shard(self._path(piece.shard), self._rows, self._ids, self._attributes(piece.shard), failed, self._labels)
            self._rows, self._ids, self._labels, self._failures = [], [], [], []


def embed_checkpoint(
    loaded: Loaded, shards: ShardSet, domain: str, out: str | Path, *, device: torch.device, precision: str, batch_size: int, workers: int, dtype: str
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


def start_embedding(arguments: argparse.Namespace) -> torch.device:
    """Join the job and set the threads as the flags say; returns the device."""
    if arguments.batch_size < 1 or arguments.workers < 0 or arguments.threads < 1:
        raise ValueError("--batch_size and --threads must be at least 1, --workers at least 0")
    torch.set_num_threads(arguments.threads)
    return distributed.start(arguments.device)


def main(argv: list[str] | None = None) -> None:
    parser = CommandParser("python -m pipeline.embed", __doc__)
    parser.add_argument("--checkpoint", required=True, help="run folder (its best checkpoint, else the latest) or one checkpoint folder")
    parser.add_argument("--shards", required=True, help="packed split, e.g. SHARDS/test")
    parser.add_argument("--domain", required=True, help="goods, video, ...")
    parser.add_argument("--out", required=True, help="folder of the dump")
    add_embedding_arguments(parser)
    arguments = parser.parse_args(argv)
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
            )
    finally:
        distributed.stop()


if __name__ == "__main__":
    run_command(main)
