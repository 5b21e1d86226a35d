"""The one seam: a System holds a paper's model and losses; trainer, embed and search know nothing else of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.query_decoder import Decoding
from pipeline.exporting.forms import Exports
from pipeline.item import Query
from pipeline.shards import Sample, ShardSet

Batch = dict[str, Tensor]


class Preparation(ABC):
    """Turns samples into batches in the loader's workers. Picklable; holds settings and a tokenizer, never weights."""

    @abstractmethod
    def sample(self, sample: Sample, rng: np.random.Generator | None, query: Query | None) -> dict[str, Any]:
        """What the system needs of one sample.

        Args:
            rng: draws augmentation and choice; None for evaluation, which draws nothing.
            query: the query that the sampler drew for this document; None where there is none (evaluation, or an item without queries).

        Raises:
            ValueError: names shard, sample and cause, where a member is missing or broken.
        """

    @abstractmethod
    def collate(self, rows: list[dict[str, Any]]) -> Batch:
        """The rows of one batch as tensors of equal shapes; every tensor's first axis is the batch."""

    def absent(self, domain: str) -> dict[str, Any] | None:
        """What stands in a training batch, in place of `sample`, for an item of `domain` that could not be read: a row that has nothing and that
        the system's losses leave out. None: there is no such row, and a run stops at an item that it cannot read."""
        return None


class Embedder(nn.Module, ABC):
    """What a dump needs: samples as batches, and a vector for each."""

    embedding_dim: int
    normalised: bool = True
    """embeddings have length 1, so that inner products are cosines"""

    @abstractmethod
    def embed(self, batch: Batch, domain: str) -> Tensor:
        """What goes into the dump, [B, embedding_dim]; scores are inner products of these."""

    @abstractmethod
    def preparation(self, training: bool) -> Preparation:
        """How samples become batches, with augmentation (`training`) or without."""


class System(Embedder):
    """A published system: model and losses in one module, so that DDP wraps one forward.

    A step is `losses(encode(batch), batch)`: `encode` gives rows item by item, `losses` compares them, so that a trainer can encode a large
    batch in pieces and compare it as a whole. State that must survive (momentum copies, queues, pointers) lives in buffers, so that a
    checkpoint holds it.
    """

    rowwise: bool = True
    """a row of `encode` follows from its item alone; False where batch statistics are used, and a batch cannot be encoded in pieces"""
    watched: frozenset[str] = frozenset()
    """names of terms that are logged and not added to the loss"""
    predicted_domain: str = ""
    """domain of the items that `predict` is for; empty where it predicts nothing"""
    neighbours_used: int = 0
    """neighbours of an item (`pipeline.neighbours`) that a prediction looks at"""
    scores_pairs: bool = False
    """how well two items fit is what `score` says; products of embeddings only come near to it, and propose what is scored (`pipeline.rerank`)"""

    @property
    def feature_dim(self) -> int:
        """Width of `features`."""
        raise ValueError(f"{type(self).__name__} has no towers to take features of; leave --probe out")

    def features(self, batch: Batch) -> Tensor:
        """What the towers give before anything that is trained from scratch, [B, feature_dim]; for a linear probe."""
        raise ValueError(f"{type(self).__name__} has no towers to take features of; leave --probe out")

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Named loss terms (scalars), already weighted; the trainer adds them up (but for `watched`) and logs each by name."""
        return self.losses(self.encode(batch), batch)

    @abstractmethod
    def encode(self, batch: Batch) -> dict[str, Tensor]:
        """What the losses compare, each [B, ...]; where `rowwise`, parts of a batch give the parts of its rows."""

    @abstractmethod
    def losses(self, rows: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """The terms of `forward` from the rows that `encode` gave for the same batch.

        A row of `Preparation.absent` weighs nothing and is nobody's negative: the terms of the other rows, and what is kept of them, are those of a
        batch without it, on however many ranks.
        """

    def caption(self, batch: Batch, decoding: Decoding) -> list[list[tuple[str, float]]]:
        """Texts that the system reads off each document's frames, best first, with their log probabilities; none where it has no frames."""
        raise ValueError(f"{type(self).__name__} has no decoder that writes texts; use a checkpoint of a recipe that has one (qcd)")

    def predict(self, batch: Batch) -> Tensor:
        """A number for each item, float32 [B]; a system that predicts says for which items (`predicted_domain`)."""
        raise ValueError(f"{type(self).__name__} predicts no numbers; use a checkpoint of a recipe that does (mmra)")

    def compared(self, batch: Batch, domain: str) -> dict[str, Tensor]:
        """What `score` looks at of items of `domain`, each [B, ...] and of one shape in every batch."""
        raise ValueError(f"{type(self).__name__} has no score but the products of its embeddings")

    def score(self, queries: dict[str, Tensor], documents: dict[str, Tensor]) -> Tensor:
        """How well each query fits each document, float32 [queries, documents], from what `compared` gave of both."""
        raise ValueError(f"{type(self).__name__} has no score but the products of its embeddings")

    def require(self, shards: ShardSet) -> None:
        """Raise ValueError where a split lacks what the system needs beside its samples, before anything is started."""

    @abstractmethod
    def parts(self) -> dict[str, nn.Module]:
        """The modules that learning-rate factors name; together they hold every trainable parameter once."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """JSON that rebuilds the architecture without the encoders' folders; the weights come from the checkpoint."""

    def save_files(self, folder: Path) -> None:
        """Write what preparation needs beside weights and `describe` (a tokenizer) into a checkpoint's folder."""

    def exports(self) -> Exports:
        """Towers and graphs for other programs (`python -m pipeline.export`)."""
        raise ValueError(f"{type(self).__name__} has no form for other programs; its checkpoint can be embedded and searched with here")

    def weights_replaced(self) -> None:
        """Called after a new run's weights were taken from a checkpoint: slow copies begin as what they follow."""

    def before_step(self, progress: float) -> None:
        """Called before each optimiser step; `progress` is the share of the run that is done, 0 to 1. For weights that change on the way."""

    def after_step(self) -> None:
        """Called once after each optimiser step: momentum copies, queues."""

    def compile_towers(self, backend: str) -> None:
        """Have torch compile what takes the time (--trainer.compile). Names in a checkpoint stay as they are."""
        raise ValueError(f"--trainer.compile: {type(self).__name__} has nothing to compile; leave it out")

    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device
