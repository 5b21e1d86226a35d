"""The QCD parity vectors: weights that follow from names, and the inputs they were made with."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

RTOL, ATOL = 1e-4, 1e-6


class Reference:
    """`qcd.npz` with its weights, as the release names them (without `module.`), and its inputs."""

    def __init__(self, test_data: Path) -> None:
        folder = test_data / "parity"
        spec = importlib.util.spec_from_file_location("parity_fill", folder / "fill.py")
        assert spec is not None and spec.loader is not None
        self._fill = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self._fill)
        self._keys = json.loads((folder / "qcd_checkpoint_keys.json").read_text())
        self._arrays = np.load(folder / "qcd.npz")

    def __getitem__(self, name: str) -> Tensor:
        return torch.from_numpy(self._arrays[name])

    def weights(self, group: str, prefix: str) -> dict[str, Tensor]:
        """The group's parameters under `prefix`, which their names lose."""
        start = f"module.{prefix}"
        found = {key: shape for key, shape in self._keys[group].items() if key.startswith(start)}
        return {key.removeprefix(start): torch.from_numpy(self._fill.fill(f"{group}:{key}", tuple(shape))) for key, shape in found.items()}

    def normal(self, name: str, *shape: int) -> Tensor:
        return torch.from_numpy(self._fill.normal(name, shape))

    def assert_same(self, ours: Tensor, name: str) -> None:
        torch.testing.assert_close(ours, self[name], rtol=RTOL, atol=ATOL)
