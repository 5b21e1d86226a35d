"""Ranked lists in the order of a system's own score, where that is no product of embeddings (HSL with max): a search proposes, `score` decides.

    python -m pipeline.rerank --checkpoint RUN --shards SHARDS/testA --ranked PROPOSED/ranked.h5 --out OUT --reranked 100

writes OUT/ranked.h5 and OUT/run.trec: of each list of PROPOSED the best, with the scores that `System.score` gives them. Queries and documents are
read from the packed split again, each document once a block of queries.

Legend: Q queries, C documents of a list that are scored, n documents of a batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from evaluate.ids import IdTable, encode_ids
from evaluate.ranked import Ranked, reordered
from evaluate.search import DOCUMENT_ROLES, QUERY_ROLES, domains_of
from evaluate.trec import write_trec
from launch.command import CommandParser, run_command
from launch.logs import progress, say
from pipeline.checkpoint import load_checkpoint
from pipeline.embed import add_forward_arguments, start_embedding
from pipeline.precision import autocast, resolve_precision
from pipeline.shards import ShardSet
from pipeline.stream import Unreadable
from pipeline.system import Batch, Preparation, System

BLOCK = 2048
"""Queries whose rows are held at a time."""


def rerank(
    system: System,
    shards: ShardSet,
    proposed: Ranked,
    out: str | Path,
    most: int,
    *,
    device: torch.device,
    precision: str,
    batch_size: int,
    workers: int,
    trec: bool = True,
    quiet: bool = False,
) -> Ranked:
    """The first `most` documents of each list of `proposed` in the order of the system's score, written to OUT/ranked.h5 (and OUT/run.trec). Of equal
    scores the one proposed first comes first. For one process.

    Raises ValueError where the system has no score of its own, or an item of the lists is not in the split.
    """
    if not system.scores_pairs:
        raise ValueError(f"{type(system).__name__} scores by products of embeddings, which a search has in order already; use its lists")
    if most < 1:
        raise ValueError(f"--reranked {most}: at least 1 document of each list")
    query_domain, doc_domain = domains_of(proposed.attributes.task)
    system.eval()
    reader = _Reader(system, shards, device, precision, batch_size, workers)
    queries = reader.places(query_domain, QUERY_ROLES, proposed.query_ids)
    docs = reader.places(doc_domain, DOCUMENT_ROLES, proposed.doc_ids)
    ranks = np.concatenate([block.ranks[:, :most] for block in proposed.blocks()])
    scores = np.full(ranks.shape, -np.inf, np.float32)
    with progress(total=len(ranks), what="rerank", unit="query", quiet=quiet) as bar:
        for first in range(0, len(ranks), BLOCK):
            block = ranks[first : first + BLOCK]
            asked = np.arange(first, first + len(block))
            rows = _together([own for _, own in reader.compared(query_domain, queries, asked)])
            column = np.full(len(docs), -1)
            for numbers, own in reader.compared(doc_domain, docs, np.unique(block[block >= 0])):
                column[numbers] = np.arange(len(numbers))
                found = np.where(block >= 0, column[block], -1)
                column[numbers] = -1
                scored_qn = reader.score(rows, own)
                query, place = np.nonzero(found >= 0)
                scores[first + query, place] = scored_qn[query, found[query, place]]
            bar.update(len(block))
    order = np.argsort(-scores, axis=1, kind="stable")
    ranks, scores = (np.take_along_axis(values, order, axis=1) for values in (ranks, scores))
    path = Path(out) / "ranked.h5"
    among = "each query's own candidates" if proposed.attributes.candidates else f"the best {ranks.shape[1]} by {proposed.attributes.metric}"
    path.with_name("run.trec").unlink(missing_ok=True)
    ordered = reordered(proposed, path, ranks, scores, f"pair score among {among}")
    if trec:
        write_trec(path.with_name("run.trec"), ordered.query_ids, ordered.doc_ids, ranks, scores)
    return ordered


class _Reader:
    """Items of a split as what the system compares, read by their places."""

    def __init__(self, system: System, shards: ShardSet, device: torch.device, precision: str, batch_size: int, workers: int) -> None:
        self._system, self._shards, self._device, self._precision = system, shards, device, precision
        self._batch_size, self._workers = batch_size, workers
        self._preparation = system.preparation(training=False)

    def places(self, domain: str, roles: tuple[str, ...], ids: np.ndarray) -> np.ndarray:
        """(shard, row) [n, 2] of the items with these ids. Raises ValueError naming one that is not there."""
        table, found = IdTable(ids), np.full((len(ids), 2), -1)
        for number in self._shards.of_domain(domain, roles):
            own = table.places(encode_ids(self._shards.shard(number).ids))
            rows = np.flatnonzero(own >= 0)
            found[own[rows]] = np.stack([np.full(len(rows), number), rows], axis=1)
        if (found < 0).any():
            missing = ids[int((found < 0).any(axis=1).argmax())].decode()
            raise ValueError(f"{self._shards.folder}: no {domain} item {missing!r}, which the lists hold; give the split that was searched")
        return found

    @torch.inference_mode()
    def compared(self, domain: str, places: np.ndarray, chosen: np.ndarray) -> Iterator[tuple[np.ndarray, dict[str, Tensor]]]:
        """(which of `chosen`, what is compared of them) a batch, in the order of the shards."""
        chosen = chosen[np.lexsort((places[chosen, 1], places[chosen, 0]))]
        parts = [chosen[first : first + self._batch_size] for first in range(0, len(chosen), self._batch_size)]
        samples = _Samples(self._shards, self._preparation, [places[part] for part in parts])
        for part, batch in zip(parts, DataLoader(samples, batch_size=None, collate_fn=_as_it_is, num_workers=self._workers)):
            if isinstance(batch, Unreadable):
                raise ValueError(batch.reason)
            with autocast(self._precision, self._device):
                found = self._system.compared({name: value.to(self._device) for name, value in batch.items()}, domain)
            yield part, found

    @torch.inference_mode()
    def score(self, queries: dict[str, Tensor], documents: dict[str, Tensor]) -> np.ndarray:
        """float32 [Q, n]"""
        return self._system.score(queries, documents).float().cpu().numpy()


class _Samples(Dataset):
    """Batches of the samples at (shard, row) places."""

    def __init__(self, shards: ShardSet, preparation: Preparation, batches: list[np.ndarray]) -> None:
        self._shards, self._preparation, self._batches = shards, preparation, batches

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, number: int) -> Batch | Unreadable:
        try:
            samples = (self._shards.shard(shard).sample(row) for shard, row in self._batches[number].tolist())
            return self._preparation.collate([self._preparation.sample(sample, None, None) for sample in samples])
        except (ValueError, OSError) as error:
            return Unreadable(str(error))


def _as_it_is(batch: Any) -> Any:
    return batch


def _together(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def main(argv: list[str] | None = None) -> None:
    parser = CommandParser("python -m pipeline.rerank", __doc__)
    parser.add_argument("--checkpoint", required=True, help="run folder (its best checkpoint, else the latest) or one checkpoint folder")
    parser.add_argument("--shards", required=True, help="packed split that was searched, e.g. SHARDS/testA")
    parser.add_argument("--ranked", required=True, metavar="FILE", help="ranked.h5 with what is proposed (evaluate.search, evaluate.pools)")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="where ranked.h5 and run.trec go")
    parser.add_argument("--reranked", type=int, default=100, help="documents of each list that are scored (default: %(default)s)")
    parser.add_argument("--weights", choices=["live", "ema"], default="live", help="as the embeddings were made with (default: live)")
    add_forward_arguments(parser, batch_size=64)
    given = parser.parse_args(argv)
    loaded, device = load_checkpoint(given.checkpoint, given.weights), start_embedding(given)
    ranked = Ranked(given.ranked)
    if ranked.attributes.checkpoint != loaded.checksum:
        raise ValueError(
            f"{given.ranked} was made by checkpoint {ranked.attributes.checkpoint}, {loaded.folder} is {loaded.checksum}; use one for both"
        )
    forward = {"device": device, "precision": resolve_precision(given.precision, device), "batch_size": given.batch_size, "workers": given.workers}
    ordered = rerank(loaded.system.to(device), ShardSet(given.shards), ranked, given.out, given.reranked, **forward)
    say(f"{ranked.attributes.task}: {ordered.queries} lists -> {ordered.path}")


if __name__ == "__main__":
    run_command(main)
