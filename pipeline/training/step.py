"""One optimiser step: forward, loss, backward, one all-reduce, clip, update. Whole, accumulated over forwards, or in pieces.

In pieces (--trainer.piece_size, gradient caching: Gao et al. 2021) a large contrastive batch fits a small card: every piece is encoded
without a graph, the loss of the whole batch is computed once and gives each row's gradient, then every piece is encoded again, with the
same dropout, and its rows' gradients go on into the weights. Memory is that of one piece and of all rows; gradients are those of the
whole batch; the price is a second encoding.

Legend: B rows of this rank, P rows of a piece.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import nullcontext

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from launch.distributed import average_over_ranks
from pipeline.precision import autocast
from pipeline.system import Batch, System

Terms = dict[str, Tensor]


class Step:
    """Takes steps.

    Args:
        system: what is trained.
        model: the same, or DDP around it.
        piece_size: P; 0: whole batches.
        clip_norm: largest gradient norm; 0: no clipping.
        seen: called with every forward's terms before the backward; all ranks call it together.

    Raises:
        ValueError: pieces of a system whose rows depend on each other.
    """

    def __init__(
        self,
        system: System,
        model: torch.nn.Module,
        optimiser: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler,
        *,
        precision: str,
        device: torch.device,
        piece_size: int,
        clip_norm: float,
        seen: Callable[[Terms], dict[str, float]],
    ) -> None:
        if piece_size and not system.rowwise:
            raise ValueError(f"--trainer.piece_size {piece_size}: rows of this {type(system).__name__} depend on their batch; leave it out")
        self._system, self._model, self._optimiser, self._scaler = system, model, optimiser, scaler
        self._precision, self._device, self._piece_size = precision, device, piece_size
        self._clip, self._seen = clip_norm or math.inf, seen
        self._trained = [parameter for group in optimiser.param_groups for parameter in group["params"]]

    def __call__(self, batches: list[Batch]) -> dict[str, float]:
        """One optimiser step over `batches`; returns the mean of each term over ranks and batches, `loss` and `gradient_norm`."""
        self._system.train()
        totals: dict[str, float] = {}
        for number, batch in enumerate(batches):
            batch = {name: value.to(self._device, non_blocking=True) for name, value in batch.items()}
            backward = self._in_pieces if self._piece_size else self._whole
            for name, value in backward(batch, 1 / len(batches), last=number == len(batches) - 1).items():
                totals[name] = totals.get(name, 0.0) + value / len(batches)
        if self._piece_size:
            average_over_ranks([parameter.grad for parameter in self._trained if parameter.grad is not None])
        self._scaler.unscale_(self._optimiser)
        norm = torch.nn.utils.clip_grad_norm_(self._trained, self._clip)
        self._scaler.step(self._optimiser)
        self._scaler.update()
        self._optimiser.zero_grad(set_to_none=True)
        self._system.after_step()
        totals["loss"] = sum(value for name, value in totals.items() if name not in self._system.watched)
        totals["gradient_norm"] = float(norm)
        return totals

    def _whole(self, batch: Batch, share: float, last: bool) -> dict[str, float]:
        # Gradients of all but the last forward stay local: one all-reduce a step.
        with nullcontext() if last or not isinstance(self._model, DistributedDataParallel) else self._model.no_sync():
            with autocast(self._precision, self._device):
                terms = self._model(batch)
            values = self._seen(terms)
            self._scaler.scale(self._total(terms) * share).backward()
        return values

    def _in_pieces(self, batch: Batch, share: float, last: bool) -> dict[str, float]:
        pieces = list(_pieces(batch, self._piece_size))
        states, encoded = [], []
        with torch.no_grad():
            for piece in pieces:
                states.append(_random_state(self._device))
                encoded.append(self._encode(piece))
        rows = {name: torch.cat([one[name] for one in encoded]) for name in encoded[0]}
        del encoded
        for value in rows.values():
            value.requires_grad_(value.is_floating_point())
        with autocast(self._precision, self._device):
            terms = self._system.losses(rows, batch)
        values = self._seen(terms)
        self._scaler.scale(self._total(terms) * share).backward()
        drawn = _random_state(self._device)
        for place, (piece, state) in enumerate(zip(pieces, states)):
            _set_random_state(state, self._device)
            own = slice(place * self._piece_size, (place + 1) * self._piece_size)
            again = self._encode(piece)
            wanted = {name: row.grad[own] for name, row in rows.items() if row.grad is not None and again[name].requires_grad}
            torch.autograd.backward([again[name] for name in wanted], list(wanted.values()))
        _set_random_state(drawn, self._device)
        return values

    def _encode(self, piece: Batch) -> dict[str, Tensor]:
        with autocast(self._precision, self._device):
            return self._system.encode(piece)

    def _total(self, terms: Terms) -> Tensor:
        return torch.stack([term.float() for name, term in terms.items() if name not in self._system.watched]).sum()


def _pieces(batch: Batch, size: int) -> Iterator[Batch]:
    rows = len(next(iter(batch.values())))
    for first in range(0, rows, size):
        yield {name: value[first : first + size] for name, value in batch.items()}


def _random_state(device: torch.device) -> tuple[Tensor, Tensor | None]:
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


def _set_random_state(state: tuple[Tensor, Tensor | None], device: torch.device) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1], device)
