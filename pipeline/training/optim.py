"""Optimiser and schedule: one learning rate a part, and its course over the steps as a plain function."""

from __future__ import annotations

import math

import torch
from torch import nn

from pipeline.recipe import Optim


def optimiser_of(parts: dict[str, nn.Module], settings: Optim) -> torch.optim.Optimizer:
    """Adam or AdamW with a group a part, at `lr` times the part's factor; a part with factor 0 is frozen.

    Raises:
        ValueError: a factor names a part that the system does not have, or nothing is left to train.
    """
    unknown = sorted(set(settings.factors) - set(parts))
    if unknown:
        raise ValueError(f"--optim.factors names {', '.join(unknown)}; the parts of this system are {', '.join(parts)}")
    groups = []
    for name, module in parts.items():
        factor = settings.factors.get(name, 1.0)
        if factor == 0:
            module.requires_grad_(False)
        trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
        if trained:
            groups.append({"params": trained, "part": name, "base_lr": settings.lr * factor, "lr": settings.lr * factor})
    if not groups:
        raise ValueError("--optim.factors: every part is frozen, nothing is left to train")
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[settings.name]
    return kind(groups, betas=settings.betas, eps=settings.eps, weight_decay=settings.weight_decay)


def scale_at(step: int, total_steps: int, epoch: float, settings: Optim) -> float:
    """What the learning rates are multiplied by at optimiser step `step` (from 0) of `total_steps`, `epoch` epochs into the run."""
    warm = min(1.0, (step + 1) / settings.warmup_steps) if settings.warmup_steps else 1.0
    if settings.schedule == "step":
        return warm * settings.gamma ** math.floor(epoch / settings.step_epochs + 1e-9)
    if settings.schedule == "cosine":
        past = max(0, step - settings.warmup_steps) / max(1, total_steps - settings.warmup_steps)
        return warm * 0.5 * (1 + math.cos(math.pi * min(1.0, past)))
    return warm


def set_learning_rate(optimiser: torch.optim.Optimizer, scale: float) -> None:
    """Give every group its base learning rate times `scale`."""
    for group in optimiser.param_groups:
        group["lr"] = group["base_lr"] * scale
