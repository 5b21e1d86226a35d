"""Frames and words to vectors: any transformers vision or text model, its pooled feature, one linear projection.

Legend: B items, L tokens, N places of an image, S pixels a side, C features of the tower, D dimensions of the embedding.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d
from transformers import PreTrainedModel

from models.batch_norm import BatchNormMode, hold_batch_norm, synchronise_batch_norm
from models.feature_memory import FeatureMemory
from models.freezing import FrozenLayers, leading_modules, unused_parameters
from models.model_folder import ImageSettings, build_tower, describe_tower, image_settings, load_tower, sentence_pooling

FRAMES_AT_ONCE = 8
"""Of a frozen tower on a CPU: more frames at once take up to twice the processor time, most of it the kernel's for fresh memory."""

Pooling = Literal["first", "mean", "own"]


class TowerOutput(NamedTuple):
    """What one forward of a tower gives before the projection: the pooled feature, and a feature of each token or each place of the image."""

    pooled: Tensor
    tokens: Tensor


class Encoder(nn.Module):
    """A transformers tower and a linear projection without bias: what frames and words have in common.

    Every parameter that requires a gradient takes part in the output, as DDP needs: those of the tower that do not are frozen.
    """

    tower: PreTrainedModel
    projection: nn.Linear

    def __init__(self, tower: PreTrainedModel) -> None:
        super().__init__()
        self.tower = tower.eval()
        self._memory: FeatureMemory | None = None
        self._token_memory: FeatureMemory | None = None

    def _complete(self, pooled: Tensor, *, dim: int, projection: nn.Linear | None, frozen_layers: FrozenLayers) -> None:
        """Add the projection and freeze: `pooled` is the tower's feature of a probe, [1, C]; a given projection is taken where it fits."""
        self.dim, self.width, self.frozen_layers = dim, pooled.shape[-1], frozen_layers
        if projection is None or tuple(projection.weight.shape) != (dim, self.width) or projection.bias is not None:
            projection = nn.Linear(self.width, dim, bias=False)
            nn.init.normal_(projection.weight, std=self.width**-0.5)
        self.projection = projection
        for parameter in unused_parameters(pooled, self.tower):
            parameter.requires_grad_(False)
        self._frozen = leading_modules(self.tower, frozen_layers)
        for module in self._frozen:
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad_(False)
        self.train()

    def train(self, mode: bool = True) -> Encoder:
        """Switch dropout and the like of the trained part; the frozen part and held batch norm stay in eval mode."""
        super().train(mode)
        for module in self._frozen:
            module.training = False
        hold_batch_norm(self.tower)
        return self

    def remember_features(self, megabytes: int) -> None:
        """Keep up to `megabytes` of features, so that an input seen before is not computed again; as much of an image's places, where they are
        asked for (`outputs`). Raises ValueError where the tower is trained."""
        if self.frozen_layers != "all":
            raise ValueError(f"features can be remembered of a frozen tower alone; this one has frozen_layers {self.frozen_layers}, not all")
        self._memory, self._token_memory = FeatureMemory(megabytes), FeatureMemory(megabytes)

    def checkpoint_gradients(self) -> bool:
        """Have the tower keep less for the backward pass and compute it again. True where transformers supports it for this model."""
        if not self.tower.supports_gradient_checkpointing:
            return False
        self.tower.gradient_checkpointing_enable({"use_reentrant": False})
        return True


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
        tower: PreTrainedModel,
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


class TextEncoder(Encoder):
    """Vectors of texts, not normalised.

    A text without a single token is encoded as its first padding token alone, so that all numbers stay finite; whoever has `has_words` leaves it out.

    Args:
        tower: transformers encoder that takes `input_ids`.
        dim: D.
        pooling: "first" token, "mean" of the tokens that are not padding, or the model's "own" (CLIP: its end-of-text token).
        attend_padding: tokens attend to padding too, as QCD was released; numbers then depend on how far a batch is padded.
        projection, frozen_layers: as in `VisionEncoder`, blocks being the layers.
    """

    def __init__(
        self,
        tower: PreTrainedModel,
        *,
        dim: int,
        pooling: Pooling = "first",
        attend_padding: bool = False,
        projection: nn.Linear | None = None,
        frozen_layers: FrozenLayers = 0,
    ) -> None:
        super().__init__(tower)
        if pooling not in get_args(Pooling):
            raise ValueError(f"pooling {pooling!r}: choose one of {', '.join(get_args(Pooling))}")
        self.pooling, self.attend_padding = pooling, attend_padding
        self.vocabulary_size = int(tower.config.vocab_size)
        positions = getattr(tower.config, "max_position_embeddings", None)
        # RoBERTa counts positions from the padding id on.
        padding = getattr(getattr(tower, "embeddings", None), "padding_idx", None)
        self.max_tokens = None if positions is None else int(positions) - (0 if padding is None else padding + 1)
        probe = torch.ones(1, 2, dtype=torch.int64)
        self._complete(self.features(probe, probe), dim=dim, projection=projection, frozen_layers=frozen_layers)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """ids, mask [B, L] int64, mask 1 for tokens and 0 for padding -> [B, D]. Raises ValueError where L is more than `max_tokens`."""
        return self.projection(self.features(ids, mask))

    def features(self, ids: Tensor, mask: Tensor) -> Tensor:
        """The tower's pooled feature before the projection: ids, mask [B, L] int64 -> [B, C]."""
        mask = self._attended(ids, mask)
        # Where padding is attended a feature depends on how far its batch is padded, so there is nothing to remember.
        if self._memory is None or self.attend_padding:
            return self._pooled(ids, mask)
        tokens = [row[: int(own.nonzero().max()) + 1] for row, own in zip(ids, mask)]

        def compute(places: list[int]) -> Tensor:
            longest = max(len(tokens[place]) for place in places)
            return self._pooled(ids[places, :longest], mask[places, :longest])

        return self._memory.features(tokens, compute)

    def outputs(self, ids: Tensor, mask: Tensor) -> TowerOutput:
        """`features` [B, C] and those of the tokens [B, L, C], padding included, in one forward; never remembered."""
        return self._run(ids, self._attended(ids, mask))

    def word_embeddings(self) -> Tensor:
        """The tower's table of words, [vocabulary, its width]."""
        return self.tower.get_input_embeddings().weight  # type: ignore[return-value]

    def _attended(self, ids: Tensor, mask: Tensor) -> Tensor:
        """`mask` with the first token of texts that have none."""
        if self.max_tokens is not None and ids.shape[1] > self.max_tokens:
            raise ValueError(f"texts of {ids.shape[1]} tokens, but {type(self.tower).__name__} has positions for {self.max_tokens}; cut them shorter")
        mask = mask.clone()
        mask[:, 0] |= ~mask.any(dim=1)
        return mask

    def _pooled(self, ids: Tensor, mask: Tensor) -> Tensor:
        return self._run(ids, mask).pooled

    def _run(self, ids: Tensor, mask: Tensor) -> TowerOutput:
        output = self.tower(input_ids=ids, attention_mask=torch.ones_like(mask) if self.attend_padding else mask)
        hidden = output.last_hidden_state
        if self.pooling == "own":
            return TowerOutput(output.pooler_output, hidden)
        if self.pooling == "first":
            return TowerOutput(hidden[:, 0], hidden)
        kept = mask.unsqueeze(-1).to(hidden.dtype)
        return TowerOutput((hidden * kept).sum(dim=1) / kept.sum(dim=1), hidden)

    def describe(self) -> dict[str, Any]:
        """JSON from which `from_description` makes this encoder without its folder; the weights come from a checkpoint."""
        options = {"dim": self.dim, "pooling": self.pooling, "attend_padding": self.attend_padding, "frozen_layers": self.frozen_layers}
        return {"tower": describe_tower(self.tower), **options}

    @classmethod
    def from_description(cls, description: Mapping[str, Any]) -> TextEncoder:
        """The described encoder with fresh random weights, to be loaded over."""
        options = dict(description)
        return cls(build_tower(options.pop("tower")), **options)


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


def load_text(
    path: str | Path,
    *,
    dim: int,
    pooling: Pooling | Literal["auto"] = "auto",
    attend_padding: bool = False,
    frozen_layers: FrozenLayers = 0,
    dropout: float | None = None,
) -> TextEncoder:
    """The text model in a transformers folder (BERT, RoBERTa-wwm, MiniLM, Chinese-CLIP, CLIP …) as an encoder, float32.

    A two-tower model gives its text tower, with its projection where that has `dim` rows.

    Args:
        path: the model folder. Nothing is downloaded.
        dim: D.
        pooling: as in `TextEncoder`; "auto" is what a sentence-transformers folder says, else the model's own (CLIP), else the first token.
        attend_padding, frozen_layers: as in `TextEncoder`.
        dropout: sets all dropout rates of the model; None leaves them as the folder has them.

    Raises:
        ValueError: the folder is missing, unfinished or of another kind, pools in a way that is not known here, or has fewer blocks than
            `frozen_layers`.
    """
    tower, projection = load_tower(path, flag="--encoders.text", part="text", dropout=dropout)
    chosen = _pooling_of(path, tower) if pooling == "auto" else pooling
    return TextEncoder(tower, dim=dim, pooling=chosen, attend_padding=attend_padding, projection=projection, frozen_layers=frozen_layers)


def _pooling_of(path: str | Path, tower: PreTrainedModel) -> Pooling:
    named = sentence_pooling(path)
    known: dict[str, Pooling] = {"mean": "mean", "cls": "first"}
    if named in known:
        return known[named]
    if named is not None:
        raise ValueError(f"--encoders.text {path}: its 1_Pooling pools by {named!r}; known are mean and cls, or set the pooling yourself")
    with torch.no_grad():
        output = tower.eval()(input_ids=torch.ones(1, 2, dtype=torch.int64))
    return "first" if getattr(output, "pooler_output", None) is None else "own"
