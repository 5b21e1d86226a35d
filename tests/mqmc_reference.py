"""The MQMC parity vectors: weights that follow from names, the inputs they were made with, and the queues before the step."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from tests.parity_vectors import ParityVectors

INPUTS = {
    "video_vision": ("mqmc.video", 24),
    "video_words": ("mqmc.videotext", 12),
    "goods_vision": ("mqmc.img", 20),
    "goods_words": ("mqmc.imgtext", 12),
}
"""Ours -> the name and width of theirs."""


class MQMCReference(ParityVectors):
    """`mqmc.npz` with the weights of its checkpoint and its inputs."""

    def __init__(self, test_data: Path) -> None:
        super().__init__(test_data, "mqmc")

    def checkpoint(self) -> dict[str, Tensor]:
        """A released checkpoint's tensors; a key encoder's parameters are those of its query encoder, its buffers its own."""
        found = {key: self.filled(key, shape) for key, shape in self._keys.items()}
        return {key: found[key.replace("encoder_k_", "encoder_q_")] if key.endswith(("weight", "bias")) else value for key, value in found.items()}

    def batch(self) -> dict[str, Tensor]:
        """A training batch of its eight pairs, each of a product of its own."""
        batch = {ours: self.normal(theirs, 8, width) for ours, (theirs, width) in INPUTS.items()}
        batch |= {ours.replace("_", "_has_"): torch.ones(8, dtype=torch.bool) for ours in INPUTS}
        return batch | {"middle": self["middle"], "query": torch.arange(8)}

    def queue(self, name: str) -> Tensor:
        """A stored queue [D, K, C] in our order, [C, K, D]."""
        return self[name].permute(2, 1, 0).contiguous()
