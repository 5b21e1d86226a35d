"""Run by torchrun in test_distributed: what every rank sees of gathered rows, their gradient, and a shared counter. Rank 0 writes JSON.

torchrun --nproc_per_node R tests/launch/gather_and_count.py OUT.json
"""

from __future__ import annotations

import json
import sys
import time

import torch
import torch.distributed as dist

from launch import distributed
from tests.launch.global_batch import BATCH, gradient_of_slice

COUNT = 60


def main(out: str) -> None:
    distributed.start("cpu", timeout_s=60)
    rank, ranks = distributed.rank(), distributed.world_size()
    rows = BATCH // ranks
    own = slice(rank * rows, (rank + 1) * rows)

    gradient = distributed.sum_over_ranks(gradient_of_slice(own, distributed.gather_rows)) / ranks
    order = distributed.gather_rows(torch.arange(own.start, own.stop))

    counter, taken = distributed.SharedCounter("shards"), []
    while (number := counter.next()) < COUNT:
        taken.append(number)
        time.sleep(0.02 if rank == 0 else 0.001)
    other = distributed.SharedCounter("others").next()
    lists: list[list[int]] = [[] for _ in range(ranks)]
    dist.all_gather_object(lists, taken)
    others: list[int] = [0] * ranks
    dist.all_gather_object(others, other)

    said = distributed.broadcast_object({"rank": rank})
    agreed: list[object] = [None] * ranks
    dist.all_gather_object(agreed, said)
    distributed.barrier()
    if rank == 0:
        seen = {"ranks": ranks, "gradient": gradient.tolist(), "order": order.tolist(), "taken": lists, "others": others, "said": agreed}
        with open(out, "w") as file:
            json.dump(seen, file)
    distributed.stop()


if __name__ == "__main__":
    main(sys.argv[1])
