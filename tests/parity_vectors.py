"""Numbers that the released programs gave: the arrays of a file, with the weights and inputs they follow from, which names alone decide."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

RTOL, ATOL = 1e-4, 1e-6


class ParityVectors:
    """`<name>.npz` and `<name>_checkpoint_keys.json` of the folder of parity vectors."""

    def __init__(self, test_data: Path, name: str) -> None:
        folder = test_data / "parity"
        spec = importlib.util.spec_from_file_location("parity_fill", folder / "fill.py")
        assert spec is not None and spec.loader is not None
        self._fill = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self._fill)
        self._keys: dict[str, Any] = json.loads((folder / f"{name}_checkpoint_keys.json").read_text())
        self._arrays = np.load(folder / f"{name}.npz")

    def __getitem__(self, name: str) -> Tensor:
        return torch.from_numpy(self._arrays[name])

    def filled(self, name: str, shape: list[int]) -> Tensor:
        """The parameter or buffer that a name stands for."""
        return torch.from_numpy(self._fill.fill(name, tuple(shape)))

    def normal(self, name: str, *shape: int) -> Tensor:
        """The input that a name stands for."""
        return torch.from_numpy(self._fill.normal(name, shape))

    def assert_same(self, ours: Tensor, name: str, unit: float = 1.0) -> None:
        """Equal to the stored array within the tolerance, both as multiples of `unit`."""
        torch.testing.assert_close(ours / unit, self[name] / unit, rtol=RTOL, atol=ATOL)
