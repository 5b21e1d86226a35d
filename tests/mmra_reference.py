"""The MMRA parity vectors: weights and inputs that follow from names, and what the released program made of them."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from models.fusion.neighbours import Neighbours
from tests.parity_vectors import ParityVectors


class MMRAReference(ParityVectors):
    """`mmra.npz` with the weights of its checkpoint and its inputs."""

    def __init__(self, test_data: Path) -> None:
        super().__init__(test_data, "mmra")

    @property
    def names(self) -> set[str]:
        """Of all stored arrays."""
        return set(self._arrays)

    def checkpoint(self) -> dict[str, Tensor]:
        """A released checkpoint's tensors, six times what the fill gives."""
        return {key: 6 * self.filled(key, shape) for key, shape in self._keys["keys"].items()}

    def item(self) -> tuple[Tensor, None, Tensor, None]:
        """Vision and words of five items, all there."""
        return self._input("visual_feature"), None, self._input("textual_feature"), None

    def neighbours(self) -> Neighbours:
        """Their three neighbours, all there."""
        labels = self._input("retrieved_label").squeeze(2)
        return Neighbours(self._input("similarity"), labels, None, self._input("retrieved_visual_feature"), self._input("retrieved_textual_feature"))

    def assert_same(self, ours: Tensor, name: str, unit: float = 1.0) -> None:
        """Equal within the tolerance, and of the stored shape once its axes of length 1 are left out."""
        assert ours.squeeze().shape == self[name].squeeze().shape
        super().assert_same(ours.reshape(self[name].shape), name, unit)

    def _input(self, name: str) -> Tensor:
        return self.normal(f"mmra.{name}", *self._keys["inputs"][name])
