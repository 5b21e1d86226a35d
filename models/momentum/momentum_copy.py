"""A copy of an encoder that follows it slowly: features that hardly change from one step to the next."""

from __future__ import annotations

import copy
from typing import Any, Generic, TypeVar

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from models.batch_norm import SynchronisedBatchNorm
from models.encoders.feature_memory import FeatureMemory

Followed = TypeVar("Followed", bound=nn.Module)


class MomentumCopy(nn.Module, Generic[Followed]):
    """A copy of a module whose parameters k follow the module's own, q.

        k <- m k + (1 - m) q   at every `update`;   buffers are taken as they are

    Source: He et al. 2020 (MoCo), eq. 2; m = 0.995 in ALBEF and in QCD's release.

    What the source does not train (parameters without `requires_grad` when the copy is made) is shared with it, not copied, and so are
    remembered features: a frozen tower takes its memory once. A state dict lists shared parameters under both names, but they are one tensor,
    which `torch.save` writes once and loading fills twice with the same numbers. The rest of the copy's parameters and all of its buffers are
    its own, and are in the state dict too.

    No parameter here requires a gradient, so DDP leaves them alone; they are the same on every rank because the source is. The source is no
    part of this module: `update` is given it.

    The copy stays in eval mode whatever is asked of it (ALBEF's release leaves its dropout on): what it gives is a target and a row of a
    queue, where dropout is only noise, and in training mode its batch norm would count statistics of its own, over all ranks. With
    `batch_statistics` that is what is wanted (MQMC's key encoders): its batch norm follows the mode it is asked for, and its buffers stay its
    own at an `update`.

    Args:
        source: a module that `copy.deepcopy` takes. What it freezes stays frozen.
        momentum: m, the share of itself that the copy keeps at an update; 0 <= m < 1.
        batch_statistics: let the copy's batch norm normalise by its own batches while training.
    """

    def __init__(self, source: Followed, momentum: float = 0.995, *, batch_statistics: bool = False) -> None:
        super().__init__()
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum {momentum}: it is the share that a copy keeps at an update; give 0 up to, but not, 1 (0.995 as released)")
        self.momentum, self._batch_statistics = momentum, batch_statistics
        memories = [value for module in source.modules() for value in vars(module).values() if isinstance(value, FeatureMemory)]
        frozen = [parameter for parameter in source.parameters() if not parameter.requires_grad]
        # deepcopy takes what this names as copied already.
        self.copy = copy.deepcopy(source, {id(shared): shared for shared in (*memories, *frozen)})
        self.requires_grad_(False)
        self.eval()

    @torch.no_grad()
    def forward(self, *inputs: Any, **options: Any) -> Any:
        """What the copy gives for the source's arguments, without a gradient."""
        return self.copy(*inputs, **options)

    def train(self, mode: bool = True) -> MomentumCopy[Followed]:
        """Eval mode, whatever `mode` says, but for batch norm that normalises by its own batches; see above."""
        super().train(False)
        if self._batch_statistics:
            for module in self.copy.modules():
                if isinstance(module, _BatchNorm | SynchronisedBatchNorm):
                    module.train(mode)
        return self

    def update(self, source: Followed) -> None:
        """Follow `source`, the module that the copy was made of; once after each optimiser step."""
        self._approach(source, 1 - self.momentum)

    def restart(self, source: Followed) -> None:
        """Be equal to `source` again, whose weights were replaced."""
        self._approach(source, 1.0)

    @torch.no_grad()
    def _approach(self, source: Followed, share: float) -> None:
        """Go `share` of the way to the source, in a few operations over all tensors."""
        pairs = [(own, other) for own, other in zip(self.copy.parameters(), source.parameters(), strict=True) if own is not other]
        if pairs:
            torch._foreach_lerp_([own for own, _ in pairs], [other for _, other in pairs], share)
        buffers = list(self.copy.buffers())
        if buffers and not (self._batch_statistics and share < 1):
            torch._foreach_copy_(buffers, list(source.buffers()))
