"""Run in many processes by test_pretrain_ranks: rows fetched from other ranks, and what comes back to each. Rank 0 writes JSON."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from launch import distributed
from pipeline.recipes.qcd_pretrain.exchange import Exchange

ROWS = torch.arange(12.0).view(6, 2)
"""The global batch: row r is (2 r, 2 r + 1)."""
PLACES = torch.tensor([5, 0, 0, 3, 5, 5])
"""What each of its rows wants: row 1 and row 2 both want row 0; row 0, row 4 and row 5 (itself) want row 5."""
WEIGHTS = torch.tensor([1.0, 10.0, 100.0, 1e3, 1e4, 1e5])


def main(argv: list[str]) -> None:
    distributed.start("cpu", timeout_s=60)
    rank, size = distributed.rank(), len(ROWS) // distributed.world_size()
    own = slice(rank * size, (rank + 1) * size)
    rows = ROWS[own].clone().requires_grad_()

    exchange = Exchange(PLACES[own], size)
    fetched = exchange(rows)
    numbers = exchange(torch.arange(own.start, own.stop))
    (fetched[:, 0] * WEIGHTS[own]).sum().backward()

    assert rows.grad is not None
    found = {"fetched": fetched.detach(), "numbers": numbers, "gradient": rows.grad}
    gathered = {name: distributed.gather_rows(value).tolist() for name, value in found.items()}
    if rank == 0:
        Path(argv[0]).write_text(json.dumps(gathered), encoding="utf-8")
    distributed.stop()
