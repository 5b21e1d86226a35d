"""The MQMC parity vectors: weights that follow from names, the inputs they were made with, and the queues before the step."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

RTOL, ATOL = 1e-4, 1e-6
INPUTS = {
    "video_vision": ("mqmc.video", 24),
    "video_words": ("mqmc.videotext", 12),
    "goods_vision": ("mqmc.img", 20),
    "goods_words": ("mqmc.imgtext", 12),
}
"""Ours -> the name and width of theirs."""


class MQMCReference:
    """`mqmc.npz` with the weights of its checkpoint and its inputs."""

    def __init__(self, test_data: Path) -> None:
        folder = test_data / "parity"
        spec = importlib.util.spec_from_file_location("parity_fill", folder / "fill.py")
        assert spec is not None and spec.loader is not None
        self._fill = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self._fill)
        self._keys = json.loads((folder / "mqmc_checkpoint_keys.json").read_text())
        self._arrays = np.load(folder / "mqmc.npz")

    def __getitem__(self, name: str) -> Tensor:
        return torch.from_numpy(self._arrays[name])

    def checkpoint(self) -> dict[str, Tensor]:
        """A released checkpoint's tensors; a key encoder's parameters are those of its query encoder, its buffers its own."""
        found = {key: torch.from_numpy(self._fill.fill(key, tuple(shape))) for key, shape in self._keys.items()}
        return {key: found[key.replace("encoder_k_", "encoder_q_")] if key.endswith(("weight", "bias")) else value for key, value in found.items()}

    def batch(self) -> dict[str, Tensor]:
        """A training batch of its eight pairs, each of a product of its own."""
        batch = {ours: torch.from_numpy(self._fill.normal(theirs, (8, width))) for ours, (theirs, width) in INPUTS.items()}
        batch |= {ours.replace("_", "_has_"): torch.ones(8, dtype=torch.bool) for ours in INPUTS}
        return batch | {"middle": self["middle"], "query": torch.arange(8)}

    def queue(self, name: str) -> Tensor:
        """A stored queue [D, K, C] in our order, [C, K, D]."""
        return self[name].permute(2, 1, 0).contiguous()

    def assert_same(self, ours: Tensor, name: str, unit: float = 1.0) -> None:
        """Equal within the tolerance, both as multiples of `unit`."""
        torch.testing.assert_close(ours / unit, self[name] / unit, rtol=RTOL, atol=ATOL)
