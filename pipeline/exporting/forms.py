"""What a system offers for export."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from models.encoders import TextEncoder, VisionEncoder


@dataclass(frozen=True)
class Graph:
    """A function of tensors that becomes one ONNX file.

    Args:
        module: the form that is traced: tensors in the order of `axes` -> vectors [B, D]. Which rows are computed does not depend on their values.
        ours: what the system itself computes from the same tensors; the ONNX file must agree with it.
        axes: name of each input -> its axes of free length with their names; equal names are equal lengths.
        batches: inputs that cover the free lengths. The first is traced, and no free axis of it is 0 or 1 long; all are compared.
        says: what it takes and gives, for the README.
    """

    module: nn.Module
    ours: Callable[..., Tensor]
    axes: Mapping[str, Mapping[int, str]]
    batches: Sequence[tuple[Tensor, ...]]
    says: str


@dataclass(frozen=True)
class Exports:
    """The towers as they are trained, in eval mode, and the graphs by file name.

    `lengths`: tokens that words are cut to, by kind of words; `tokenizer`: folder of the text tower's.
    """

    vision: VisionEncoder
    text: TextEncoder
    tokenizer: Path
    lengths: Mapping[str, int]
    graphs: Mapping[str, Graph]
