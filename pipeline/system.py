"""The one seam: a System holds a paper's model and losses; trainer, embed and search know nothing else of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.item import Query
from pipeline.shards import Sample

Batch = dict[str, Tensor]


class Preparation(ABC):
    """Turns samples into batches in the loader's workers. Picklable; holds settings and a tokenizer, never weights."""

    @abstractmethod
    def sample(self, sample: Sample, rng: np.random.Generator | None, query: Query | None) -> dict[str, Any]:
        """What the system needs of one sample.

        Args:
            rng: draws augmentation and choice; None for evaluation, which draws nothing.
            query: the query that the sampler drew for this document; None where there is none (evaluation).

        Raises:
            ValueError: names shard, sample and cause, where a member is missing or broken.
        """

    @abstractmethod
    def collate(self, rows: list[dict[str, Any]]) -> Batch:
        """The rows of one batch as tensors of equal shapes; every tensor's first axis is the batch."""


class System(nn.Module, ABC):
    """A published system: model and losses in one module, so that DDP wraps one forward.

    State that must survive (momentum copies, queues, pointers) lives in buffers, so that a checkpoint holds it.
    """

    embedding_dim: int
    normalised: bool = True
    """embeddings have length 1, so that inner products are cosines"""

    @property
    def feature_dim(self) -> int:
        """Width of `features`."""
        raise ValueError(f"{type(self).__name__} has no towers to take features of; leave --probe out")

    def features(self, batch: Batch) -> Tensor:
        """What the towers give before anything that is trained from scratch, [B, feature_dim]; for a linear probe."""
        raise ValueError(f"{type(self).__name__} has no towers to take features of; leave --probe out")

    @abstractmethod
    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Named loss terms (scalars), already weighted; the trainer adds them up and logs each by name."""

    @abstractmethod
    def embed(self, batch: Batch, domain: str) -> Tensor:
        """What goes into the dump, [B, embedding_dim]; scores are inner products of these."""

    @abstractmethod
    def parts(self) -> dict[str, nn.Module]:
        """The modules that learning-rate factors name; together they hold every trainable parameter once."""

    @abstractmethod
    def preparation(self, training: bool) -> Preparation:
        """How samples become batches, with augmentation (`training`) or without."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """JSON that rebuilds the architecture without the encoders' folders; the weights come from the checkpoint."""

    def save_files(self, folder: Path) -> None:
        """Write what preparation needs beside weights and `describe` (a tokenizer) into a checkpoint's folder."""

    def after_step(self) -> None:
        """Called once after each optimiser step: momentum copies, queues."""

    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device
