"""One process or many, the same code: start and stop, who am I, rows of all ranks with a true gradient, a shared counter.

torchrun sets RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT; without them everything here works for one process.
Legend: R ranks, B rows a rank, N = R * B.
"""

from __future__ import annotations

import itertools
import os
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor


def start(device: str = "auto", timeout_s: float = 1800.0) -> torch.device:
    """Join the job that torchrun describes, if any, and return this process's device.

    Args:
        device: "auto" (this rank's GPU where there is one, else CPU), "cpu" or "cuda".
        timeout_s: seconds that a collective may wait for a rank before the job stops.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise ValueError(f"--device {device}: choose auto, cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: torch sees no GPU here; run launch/setup.sh for a build that serves your card, or use --device cpu")
    on_gpu = torch.cuda.is_available() if device == "auto" else device == "cuda"
    chosen = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if on_gpu else torch.device("cpu")
    if on_gpu:
        torch.cuda.set_device(chosen)
    if "WORLD_SIZE" in os.environ and not dist.is_initialized():
        _join("nccl" if on_gpu else "gloo", timedelta(seconds=timeout_s))
    return chosen


def _join(backend: str, timeout: timedelta) -> None:
    """Join the process group. After a restart (torchrun --max-restarts) torchrun's store still has the addresses of the ranks that are gone, and
    counters that they have moved (pytorch's issue 135712), so every attempt has names of its own in it."""
    store, own_rank, ranks = next(dist.rendezvous("env://", timeout=timeout))
    store.set_timeout(timeout)
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    dist.init_process_group(backend, timeout=timeout, store=dist.PrefixStore(f"attempt {attempt}", store), rank=own_rank, world_size=ranks)


def stop() -> None:
    """Leave the job, if this process is in one."""
    if dist.is_initialized():
        dist.destroy_process_group()


def rank() -> int:
    """This process's number among all, 0 where there is no job."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Number of processes, 1 where there is no job."""
    return dist.get_world_size() if dist.is_initialized() else 1


def barrier() -> None:
    """Wait for all ranks."""
    if dist.is_initialized():
        dist.barrier()


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rows: Tensor) -> Tensor:  # type: ignore[override]
        ctx.rows = rows.shape[0]
        parts = [torch.empty_like(rows) for _ in range(world_size())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:  # type: ignore[override]
        gradient = gradient.contiguous()
        dist.all_reduce(gradient)
        return gradient[rank() * ctx.rows : (rank() + 1) * ctx.rows]


def gather_rows(rows: Tensor) -> Tensor:
    """Rows of all ranks in rank order, [B, ...] -> [R * B, ...]; every rank gives the same B.

    The backward pass sums what all ranks' losses say of these rows, so that with DDP's mean over ranks the gradient is that of
    one process on the whole batch, and nobody multiplies by anything.
    """
    if world_size() == 1:
        return rows
    if rows.requires_grad:
        return _GatherRows.apply(rows)
    parts = [torch.empty_like(rows) for _ in range(world_size())]
    dist.all_gather(parts, rows.contiguous())
    return torch.cat(parts)


def sum_over_ranks(value: Tensor) -> Tensor:
    """Sum of `value` over all ranks, without a gradient."""
    total = value.detach().clone()
    if dist.is_initialized():
        dist.all_reduce(total)
    return total


def logsumexp_over_ranks(values: Tensor) -> Tensor:
    """Log of the sum over all ranks of exp(`values`), entry by entry and without a gradient; -inf where every rank has it."""
    if world_size() == 1:
        return values
    values = values.detach().contiguous()
    parts = [torch.empty_like(values) for _ in range(world_size())]
    dist.all_gather(parts, values)
    return torch.stack(parts).logsumexp(dim=0)


def average_over_ranks(gradients: list[Tensor], bucket_bytes: int = 1 << 26) -> None:
    """Replace every tensor by its mean over all ranks, in place; many small ones travel together. All ranks give the same shapes."""
    if world_size() == 1:
        return
    waiting: list[Tensor] = []
    for place, gradient in enumerate(gradients):
        waiting.append(gradient)
        full = sum(one.numel() * one.element_size() for one in waiting) >= bucket_bytes
        if full or place + 1 == len(gradients) or gradients[place + 1].dtype != gradient.dtype:
            flat = torch.cat([one.reshape(-1) for one in waiting])
            dist.all_reduce(flat)
            flat /= world_size()
            for one, mean in zip(waiting, flat.split([one.numel() for one in waiting])):
                one.copy_(mean.view_as(one))
            waiting = []


def broadcast_object(value: object) -> object:
    """Rank 0's `value` on every rank (it travels by pickle, between processes of one job only)."""
    if world_size() == 1:
        return value
    holder = [value]
    dist.broadcast_object_list(holder, src=0)
    return holder[0]


def job_store() -> dist.Store | None:
    """The store that all ranks of the job share, torchrun's; it has no time limit and ends with the job. None without a job."""
    return dist.distributed_c10d._get_default_store() if dist.is_initialized() else None


class SharedCounter:
    """0, 1, 2, ...: every number is handed to one rank only, to whoever asks first, so that a slow node does not hold up the rest.

    Kept in torchrun's store. All ranks make the counter with the same `name`, once.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._local = itertools.count()
        self._store = job_store()

    def next(self) -> int:
        """The next number that nobody has had."""
        if self._store is None:
            return next(self._local)
        return int(self._store.add(f"counter/{self._name}", 1)) - 1


def rank_from_environment() -> int:
    """This process's number as torchrun says it, before `start`."""
    return int(os.environ.get("RANK", "0"))
