"""Where a run stands: two numbers for the stream, and what is known of its validations."""

from __future__ import annotations

from dataclasses import dataclass, field

FORMAT_VERSION = 3


@dataclass
class State:
    """Where a run stands: `step` optimiser steps done; next comes batch `batch` of `epoch`."""

    step: int = 0
    epoch: int = 0
    batch: int = 0
    best: dict[str, float] | None = None
    """what names the best checkpoint (trainer.best_metric), as it was at `best_step`"""
    best_step: int | None = None
    not_better: int = 0
    """validations since the best one"""
    history: dict[str, float] = field(default_factory=dict)
    """metrics of the last validation"""
