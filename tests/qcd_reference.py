"""The QCD parity vectors: weights that follow from names, and the inputs they were made with."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from tests.parity_vectors import ParityVectors

ALIASES = {
    "clip_model.bert.": "text_model.",
    "clip_model.text_projection": "text_projection",
    "gpt2_model.lm_head.weight": "gpt2_model.transformer.wte.weight",
}
"""Names of one tensor: the first is filled as the second."""


class Reference(ParityVectors):
    """`qcd.npz` with its weights, as the release names them (without `module.`), and its inputs."""

    def __init__(self, test_data: Path) -> None:
        super().__init__(test_data, "qcd")

    def weights(self, group: str, prefix: str) -> dict[str, Tensor]:
        """The group's parameters under `prefix`, which their names lose."""
        start = f"module.{prefix}"
        found = {key: shape for key, shape in self._keys[group].items() if key.startswith(start)}
        return {key.removeprefix(start): self.filled(f"{group}:{key}", shape) for key, shape in found.items()}

    def checkpoint(self) -> dict[str, dict[str, Tensor]]:
        """The groups of a released checkpoint, filled; a tensor of two names has one value, its second name's."""
        return {group: {key: self._filled(group, key, shape) for key, shape in keys.items()} for group, keys in self._keys.items()}

    def _filled(self, group: str, key: str, shape: list[int]) -> Tensor:
        for first, second in ALIASES.items():
            key = key.replace(first, second)
        return self.filled(f"{group}:{key}", shape)

    def full_size(self) -> dict[str, dict[str, Tensor]]:
        """The same groups at the published size (ViT-B/16, 12 layers of RoBERTa-wwm-base, GPT-2 of width 512), random."""
        generator = torch.Generator().manual_seed(0)

        def grown(key: str, shape: list[int], width: int) -> Tensor:
            sizes = {64: width, 192: 3 * width, 256: 4 * width, 128: 4 * width, 120: 21128}
            full = [sizes.get(size, size) for size in shape]
            if key.endswith("visual_model.positional_embedding") or key.endswith("visual.positional_embedding"):
                full[0] = 197
            if key.endswith("position_embeddings.weight"):
                full[0] = 512
            return 0.02 * torch.randn(full, generator=generator)

        found: dict[str, dict[str, Tensor]] = {}
        for group, keys in self._keys.items():
            tensors: dict[str, Tensor] = {}
            for key, shape in keys.items():
                ours = 768 if group in ("state_dict", "doc_text_model") else 512
                repeats = range(12) if ".1." in key and ours == 768 else [None]
                if ".0." in key and ours == 768:
                    continue  # the second block stands for all
                for number in repeats:
                    name = key if number is None else key.replace(".1.", f".{number}.", 1)
                    tensors[name] = grown(key, shape, ours)
            for name in tensors:
                second = name
                for first, alias in ALIASES.items():
                    second = second.replace(first, alias)
                tensors[name] = tensors[second]
            found[group] = tensors
        return found
