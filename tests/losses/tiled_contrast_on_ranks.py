"""Run under torchrun: the tiled contrast of this rank's share of a batch with shared queries and missing words; rank 0 writes what came out.

    torchrun --nproc_per_node R -m tests.losses.tiled_contrast_on_ranks OUT.pt

Legend: N documents, each with the query it was drawn for, K queries that a document was found by, M further documents.
"""

from __future__ import annotations

import math
import sys
from typing import NamedTuple

import torch
from torch import Tensor

from launch import distributed
from losses.tiled_contrast import TiledContrast

ROWS, DIM, FURTHER, TEMPERATURE = 12, 5, 4, 0.2


class Batch(NamedTuple):
    query: Tensor  # [N, D]
    document: Tensor  # [N, D]
    further: Tensor  # [M, D]
    present: Tensor  # [N] bool: documents that have words
    query_ids: Tensor  # [N]
    found_by: Tensor  # [N, K] ids of queries


def batch() -> Batch:
    generator = torch.Generator().manual_seed(4)
    query, document = torch.randn(2, ROWS, DIM, dtype=torch.float64, generator=generator)
    further = torch.randn(FURTHER, DIM, dtype=torch.float64, generator=generator)
    query_ids = torch.tensor([7, 3, 5, 3, 8, 1, 7, 2, 9, 3, 4, 6])
    other = torch.tensor([3, 8, -1, -1, 7, -1, 9, -1, 1, 2, -1, 5])
    present = torch.ones(ROWS, dtype=torch.bool)
    present[[1, 6, 7, 8]] = False  # 1, 2 and 1 of three ranks; 1 and 3 of two
    return Batch(query, document, further, present, query_ids, torch.stack([query_ids, other], dim=1))


def tiled_share(whole: Batch, rows: slice, tile: int) -> dict[str, Tensor]:
    """Loss and gradients of the embeddings, as DDP's mean over ranks would leave them, where this rank holds `rows` of the batch."""
    ranks = distributed.world_size()
    query, document = whole.query[rows].clone().requires_grad_(), whole.document[rows].clone().requires_grad_()
    mine = whole.present[rows]
    weight = mine * ranks / distributed.sum_over_ranks(mine.sum())
    present, found_by = distributed.gather_rows(mine), distributed.gather_rows(whole.found_by[rows])
    present = torch.cat([present, torch.ones(FURTHER, dtype=torch.bool)])
    found_by = torch.cat([found_by, torch.full((FURTHER, 2), -1)])

    def excluded(columns: slice) -> Tensor:
        shared = (whole.query_ids[rows, None, None] == found_by[None, columns]).any(dim=-1)
        return shared | ~present[columns]

    loss = TiledContrast(TEMPERATURE, tile=tile)(
        query,
        torch.cat([distributed.gather_rows(document), whole.further]),
        torch.arange(rows.start, rows.stop),
        excluded=excluded,
        weight=weight,
        candidate_weight=torch.cat([distributed.gather_rows(weight), torch.zeros(FURTHER)]),
        merge=distributed.logsumexp_over_ranks,
    )
    loss.backward()
    assert query.grad is not None and document.grad is not None
    gradients = {"query": distributed.gather_rows(query.grad / ranks), "document": distributed.gather_rows(document.grad / ranks)}
    return {"loss": distributed.sum_over_ranks(loss) / ranks, **gradients}


def main(out: str) -> None:
    distributed.start("cpu", timeout_s=60)
    rank, rows = distributed.rank(), ROWS // distributed.world_size()

    found = tiled_share(batch(), slice(rank * rows, (rank + 1) * rows), tile=5)

    found["merged"] = distributed.logsumexp_over_ranks(torch.tensor([-math.inf, 3.0 if rank == 0 else -math.inf, math.log(rank + 1)]))
    if rank == 0:
        torch.save(found, out)
    distributed.stop()


if __name__ == "__main__":
    main(sys.argv[1])
