"""Frames to vectors: any transformers vision model, its pooled feature, one linear projection.

Legend: B frames, N places of an image, S pixels a side, C features of the tower, D dimensions of the embedding.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, get_args

import torch
import transformers
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from models.batch_norm import BatchNormMode, synchronise_batch_norm
from models.encoders.encoder import Encoder, TowerOutput
from models.encoders.freezing import FrozenLayers
from models.encoders.model_folder import ImageSettings, build_tower, describe_tower, image_settings, load_tower

FRAMES_AT_ONCE = 8
"""Of a frozen tower on a CPU: more frames at once take up to twice the processor time, most of it the kernel's for fresh memory."""


class VisionEncoder(Encoder):
    """Vectors of frames, not normalised.

    Pixels become (value / 255 - image_mean) / image_std on the device. The pooled feature is the model's own: the mean of the positions, or
    the first token after the last norm (a classification head's dense pooler is left out). Position tables made for another size are
    interpolated.

    Args:
        tower: transformers model that takes `pixel_values`.
        images: how the tower wants its pixels; the size may differ from what it was trained at.
        dim: D.
        projection: the tower's own, [C -> D]; another one is made where it does not fit or is None.
        frozen_layers: 0: all is trained; n: the stem and the first n blocks are not (blocks: layers of a ViT, inverted residuals of a MobileNet,
            stages of a ResNet or ConvNeXt); "all": the projection alone is trained. What is frozen keeps no graph and has no dropout.
        batch_norm: "frozen" uses the running statistics and leaves them as they are; "synchronised" takes them over all ranks' frames.
    """

    _scale: Tensor
    _shift: Tensor

    def __init__(
        self,
        tower: transformers.PreTrainedModel,
        images: ImageSettings,
        *,
        dim: int,
        projection: nn.Linear | None = None,
        frozen_layers: FrozenLayers = 0,
        batch_norm: BatchNormMode = "frozen",
    ) -> None:
        super().__init__(tower)
        if batch_norm not in get_args(BatchNormMode):
            raise ValueError(f"batch_norm {batch_norm!r}: choose one of {', '.join(get_args(BatchNormMode))}")
        self._images, self.batch_norm = images, batch_norm
        self.image_mean, self.image_std, self.image_size = images.mean, images.std, images.size
        std = torch.tensor(images.std).view(1, 3, 1, 1)
        self.register_buffer("_scale", 1 / (255 * std), persistent=False)
        self.register_buffer("_shift", -torch.tensor(images.mean).view(1, 3, 1, 1) / std, persistent=False)
        self._memory_format = torch.contiguous_format
        resized = getattr(tower.config, "image_size", None) not in (None, images.size, [images.size] * 2, (images.size,) * 2)
        takes = inspect.signature(tower.forward).parameters
        self._options = {"interpolate_pos_encoding": True} if resized and "interpolate_pos_encoding" in takes else {}
        if batch_norm == "synchronised":
            synchronise_batch_norm(tower)
        probe = torch.zeros(1, 3, images.size, images.size, dtype=torch.uint8)
        self._complete(self._pooled(probe), dim=dim, projection=projection, frozen_layers=frozen_layers)

    def forward(self, frames: Tensor) -> Tensor:
        """frames [B, 3, S, S] uint8, RGB -> [B, D]."""
        return self.projection(self.features(frames))

    def features(self, frames: Tensor) -> Tensor:
        """The tower's pooled feature before the projection: frames [B, 3, S, S] uint8, RGB -> [B, C]."""
        assert frames.dtype == torch.uint8, f"frames are {frames.dtype}; give them as uint8, they are normalised here"
        if self.frozen_layers != "all":
            return self._pooled(frames)
        with torch.no_grad():
            if self._memory is None:
                return self._in_pieces(frames)
            return self._memory.features(list(frames), lambda places: self._in_pieces(frames[places]))

    def outputs(self, frames: Tensor, grid: int = 0) -> TowerOutput:
        """`features` [B, C] and those of an image's N places, row by row [B, N, C], in one forward.

        The places are a square grid: patches of a ViT (its class token and registers are left out), positions of a convolutional map.

        Args:
            grid: average them to so many a side, where they are more; 0 = as they come.
        """
        assert frames.dtype == torch.uint8, f"frames are {frames.dtype}; give them as uint8, they are normalised here"
        if self.frozen_layers != "all":
            rows = self._both(frames, grid)
        else:
            with torch.no_grad():
                if self._token_memory is None:
                    rows = self._both_in_pieces(frames, grid)
                else:
                    rows = self._token_memory.features(list(frames), lambda places: self._both_in_pieces(frames[places], grid))
        return TowerOutput(rows[:, 0], rows[:, 1:])

    def _both_in_pieces(self, frames: Tensor, grid: int) -> Tensor:
        size = FRAMES_AT_ONCE if frames.device.type == "cpu" else len(frames)
        return torch.cat([self._both(piece, grid) for piece in frames.split(size)])

    def _in_pieces(self, frames: Tensor) -> Tensor:
        """`_pooled`, on a CPU a few frames at a time: their activations stay in the caches and in memory that malloc hands out again."""
        return torch.cat([self._pooled(piece) for piece in frames.split(FRAMES_AT_ONCE)]) if frames.device.type == "cpu" else self._pooled(frames)

    def _pooled(self, frames: Tensor) -> Tensor:
        return _pooled_of(self._run(frames))

    def _both(self, frames: Tensor, grid: int) -> Tensor:
        """[B, 1 + N, C]: the pooled feature, then the places'."""
        output = self._run(frames)
        hidden = output.last_hidden_state
        if hidden.dim() == 3:
            side = math.isqrt(hidden.shape[1])
            hidden = hidden[:, hidden.shape[1] - side**2 :].transpose(1, 2).unflatten(2, (side, side))
        if 0 < grid < hidden.shape[2]:
            hidden = adaptive_avg_pool2d(hidden, grid)
        return torch.cat([_pooled_of(output)[:, None], hidden.flatten(2).transpose(1, 2)], dim=1)

    def _run(self, frames: Tensor) -> Any:
        if self._images.reversed_channels:
            frames = frames.flip(1)
        pixels = (frames.float() * self._scale + self._shift).contiguous(memory_format=self._memory_format)
        return self.tower(pixel_values=pixels, **self._options)

    def use_channels_last(self) -> VisionEncoder:
        """Keep pixels and convolutions in channels-last order, which is faster where bf16 or fp16 units are used. Same numbers."""
        self._memory_format = torch.channels_last
        self.tower.to(memory_format=torch.channels_last)  # type: ignore[call-arg]
        return self

    def describe(self) -> dict[str, Any]:
        """JSON from which `from_description` makes this encoder without its folder; the weights come from a checkpoint."""
        options = {"dim": self.dim, "frozen_layers": self.frozen_layers, "batch_norm": self.batch_norm}
        return {"tower": describe_tower(self.tower), "images": asdict(self._images), **options}

    @classmethod
    def from_description(cls, description: Mapping[str, Any]) -> VisionEncoder:
        """The described encoder with fresh random weights, to be loaded over."""
        options = dict(description)
        images = options.pop("images")
        settings = ImageSettings(tuple(images["mean"]), tuple(images["std"]), images["size"], images["reversed_channels"])
        return cls(build_tower(options.pop("tower")), settings, **options)


def _pooled_of(output: Any) -> Tensor:
    """[B, C] of a vision tower's output: the model's own, else the first token or the mean of the positions."""
    pooled = getattr(output, "pooler_output", None)
    if pooled is None:
        hidden = output.last_hidden_state
        pooled = hidden[:, 0] if hidden.dim() == 3 else hidden.mean((2, 3))
    return pooled.flatten(1)


def load_vision(
    path: str | Path,
    *,
    dim: int,
    image_size: int | None = None,
    image_mean: tuple[float, float, float] | None = None,
    image_std: tuple[float, float, float] | None = None,
    frozen_layers: FrozenLayers = 0,
    batch_norm: BatchNormMode = "frozen",
    dropout: float | None = None,
) -> VisionEncoder:
    """The vision model in a transformers folder (Chinese-CLIP, CLIP, ViT, MobileNetV2, ConvNeXt …) as an encoder, float32.

    A two-tower model gives its vision tower, with its projection where that has `dim` rows.

    Args:
        path: the model folder. Nothing is downloaded.
        dim: D.
        image_size: pixels a side; None takes the folder's.
        image_mean, image_std: of each channel, for pixel values 0 to 1; None takes the folder's, ImageNet's where it has none.
        frozen_layers, batch_norm: as in `VisionEncoder`.
        dropout: sets all dropout rates of the model; None leaves them as the folder has them.

    Raises:
        ValueError: the folder is missing, unfinished or of another kind, or has fewer blocks than `frozen_layers`.
    """
    tower, projection = load_tower(path, flag="--encoders.vision", part="vision", dropout=dropout)
    given = {"size": image_size, "mean": image_mean, "std": image_std}
    images = replace(image_settings(path, tower.config), **{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
    return VisionEncoder(tower, images, dim=dim, projection=projection, frozen_layers=frozen_layers, batch_norm=batch_norm)
