"""The HSL parity vectors: weights that follow from names, and the batch of four queries and images that they were made with."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from models.hsl_names import GROUPS
from tests.parity_vectors import ParityVectors


class HSLReference(ParityVectors):
    """`hsl.npz` with the weights of its checkpoint and its inputs."""

    def __init__(self, test_data: Path) -> None:
        super().__init__(test_data, "hsl")

    def checkpoint(self) -> list[dict[str, Tensor]]:
        """A released checkpoint's three state dicts."""
        return [{name: self.filled(f"{group}:{name}", shape) for name, shape in self._keys[group].items()} for group in GROUPS]

    def batch(self) -> dict[str, Tensor]:
        """A training batch of its four pairs, each of a query of its own."""
        regions = torch.arange(5) < self["num_boxes"][:, None]
        batch = {"regions": self.normal("hsl.boxes", 4, 5, 24) * regions[..., None], "region_mask": regions}
        batch |= {"words": self["captions"], "word_mask": torch.arange(6) < self["lengths"][:, None]}
        return batch | {"read": torch.ones(4, dtype=torch.bool), "query": torch.arange(4), "document_queries": torch.arange(4)[:, None]}
