"""Batch norm in pretrained towers: held at its running statistics, or taken over the rows of all ranks.

Legend: B rows a rank, C channels, R ranks.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from launch.distributed import sum_over_ranks

BatchNormMode = Literal["frozen", "synchronised"]


class _SumOverRanks(torch.autograd.Function):
    """Sum over ranks whose backward pass sums what all ranks' losses say of it."""

    @staticmethod
    def forward(ctx, value: Tensor) -> Tensor:  # type: ignore[override]
        return sum_over_ranks(value)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return sum_over_ranks(gradient)


class SynchronisedBatchNorm(nn.Module):
    """Batch norm over the rows of all ranks together, with a true gradient: R ranks give what one process gives on the whole batch.

        y = (x - mean) / sqrt(var + eps) * weight + bias,   mean and var over all ranks' B and all positions of a channel

    In eval mode it uses the running statistics, as torch's does. torch's own SyncBatchNorm refuses CPU tensors. Ranks may have different B.
    Parameters, buffers and their names are those of torch's BatchNorm, so checkpoints of either load into the other.

    Args:
        norm: torch batch norm whose parameters and buffers this layer takes over (they are shared, not copied).
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, norm: _BatchNorm) -> None:
        super().__init__()
        if norm.running_mean is None or norm.running_var is None or norm.num_batches_tracked is None:
            raise ValueError("batch norm without running statistics cannot be synchronised: it already follows each batch alone")
        self.eps = norm.eps
        # transformers' MobileNets give torch the TensorFlow form of the number (.997 = the share that is kept).
        momentum = 0.1 if norm.momentum is None else norm.momentum
        self.momentum = min(momentum, 1 - momentum)
        self.weight, self.bias = norm.weight, norm.bias
        self.register_buffer("running_mean", norm.running_mean)
        self.register_buffer("running_var", norm.running_var)
        self.register_buffer("num_batches_tracked", norm.num_batches_tracked)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C, ...] -> the same shape and type; the arithmetic is float32."""
        with torch.autocast(x.device.type, enabled=False):
            rows = x.float()
            shape = (1, -1) + (1,) * (x.dim() - 2)
            if self.training:
                mean, var = self._statistics(rows, shape)
            else:
                mean, var = self.running_mean, self.running_var
            scale = torch.rsqrt(var + self.eps)
            if self.weight is not None:
                scale = scale * self.weight
            shifted = (rows - mean.view(shape)) * scale.view(shape)
            return (shifted if self.bias is None else shifted + self.bias.view(shape)).to(x.dtype)

    def _statistics(self, rows: Tensor, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        axes = [axis for axis in range(rows.dim()) if axis != 1]
        count = sum_over_ranks(rows.new_tensor(rows.numel() / rows.shape[1]))
        mean = _sum(rows.sum(axes)) / count
        # From the shared mean in a second pass: mean(x^2) - mean(x)^2 cancels where the mean is large.
        var = _sum((rows - mean.view(shape)).square().sum(axes)) / count
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var * count / (count - 1).clamp(min=1), self.momentum)
            self.num_batches_tracked += 1
        return mean, var


def _sum(value: Tensor) -> Tensor:
    return _SumOverRanks.apply(value) if dist.is_initialized() else value


def synchronise_batch_norm(module: nn.Module) -> int:
    """Replace every torch batch norm below `module` by `SynchronisedBatchNorm` and return how many there were."""
    found = [(parent, name, child) for parent in module.modules() for name, child in parent.named_children() if isinstance(child, _BatchNorm)]
    for parent, name, norm in found:
        setattr(parent, name, SynchronisedBatchNorm(norm))
    return len(found)


def hold_batch_norm(module: nn.Module) -> None:
    """Put every torch batch norm below `module` in eval mode: running statistics are used and stay as they are; gains still learn."""
    for child in module.modules():
        if isinstance(child, _BatchNorm):
            child.eval()
