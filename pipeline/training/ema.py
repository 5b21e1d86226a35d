"""A slow average of the trained weights (EMA), evaluated like the live ones.

average <- decay * average + (1 - decay) * weights   after every step
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class WeightAverage:
    """The average of a module's trained parameters, beside it, in their own precision; frozen ones and buffers need none.

    Begins as the weights at its making. Ranks keep equal averages, as their weights are equal.

    Args:
        module: what is averaged.
        decay: share of itself that the average keeps at a step, e.g. .999: it looks back over some 1 / (1 - decay) steps.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        if not 0 < decay < 1:
            raise ValueError(f"--trainer.ema_decay {decay}: a share between 0 and 1, e.g. 0.999")
        self._live = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
        self._average = {name: parameter.detach().clone() for name, parameter in self._live.items()}
        self._update = get_ema_multi_avg_fn(decay)

    @torch.no_grad()
    def update(self) -> None:
        """Follow the weights by one step."""
        self._update(list(self._average.values()), [parameter.detach() for parameter in self._live.values()], 0)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within the context the module's weights are the average."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for name, parameter in self._live.items():
            parameter.data, self._average[name] = self._average[name], parameter.data

    def state_dict(self) -> dict[str, Tensor]:
        """Name of each trained parameter -> its average."""
        return self._average

    def load_state_dict(self, average: dict[str, Tensor]) -> None:
        """Go on from a saved average. Raises ValueError where it is that of other parameters."""
        if average.keys() != self._average.keys():
            raise ValueError(f"the saved average is of other parameters: {', '.join(sorted(average.keys() ^ self._average.keys())[:5])} …")
        for name, value in average.items():
            self._average[name].copy_(value)
