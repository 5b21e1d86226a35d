"""The MMRA parity vectors: weights and inputs that follow from names, and what the released program made of them."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.fusion.neighbours import Neighbours

RTOL, ATOL = 1e-4, 1e-6


class MMRAReference:
    """`mmra.npz` with the weights of its checkpoint and its inputs."""

    def __init__(self, test_data: Path) -> None:
        folder = test_data / "parity"
        spec = importlib.util.spec_from_file_location("parity_fill", folder / "fill.py")
        assert spec is not None and spec.loader is not None
        self._fill = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self._fill)
        shapes = json.loads((folder / "mmra_checkpoint_keys.json").read_text())
        self._keys, self._inputs = shapes["keys"], shapes["inputs"]
        self._arrays = np.load(folder / "mmra.npz")

    def __getitem__(self, name: str) -> Tensor:
        return torch.from_numpy(self._arrays[name])

    @property
    def names(self) -> set[str]:
        """Of all stored arrays."""
        return set(self._arrays)

    def checkpoint(self) -> dict[str, Tensor]:
        """A released checkpoint's tensors, six times what the fill gives."""
        return {key: 6 * torch.from_numpy(self._fill.fill(key, tuple(shape))) for key, shape in self._keys.items()}

    def item(self) -> tuple[Tensor, None, Tensor, None]:
        """Vision and words of five items, all there."""
        return self._input("visual_feature"), None, self._input("textual_feature"), None

    def neighbours(self) -> Neighbours:
        """Their three neighbours, all there."""
        labels = self._input("retrieved_label").squeeze(2)
        return Neighbours(self._input("similarity"), labels, None, self._input("retrieved_visual_feature"), self._input("retrieved_textual_feature"))

    def assert_same(self, ours: Tensor, name: str) -> None:
        """Equal within the tolerance, and of the stored shape once its axes of length 1 are left out."""
        torch.testing.assert_close(ours.squeeze(), self[name].squeeze(), rtol=RTOL, atol=ATOL)

    def _input(self, name: str) -> Tensor:
        return torch.from_numpy(self._fill.normal(f"mmra.{name}", tuple(self._inputs[name])))
