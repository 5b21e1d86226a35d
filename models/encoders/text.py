"""Words to vectors: any transformers text model, its pooled feature, one linear projection.

Legend: B texts, L tokens, C features of the tower, D dimensions of the embedding.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import torch
import transformers
from torch import Tensor, nn

from models.encoders.encoder import Encoder, TowerOutput
from models.encoders.freezing import FrozenLayers
from models.encoders.model_folder import build_tower, describe_tower, load_tower, sentence_pooling

Pooling = Literal["first", "mean", "own"]


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
        tower: transformers.PreTrainedModel,
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


def _pooling_of(path: str | Path, tower: transformers.PreTrainedModel) -> Pooling:
    named = sentence_pooling(path)
    known: dict[str, Pooling] = {"mean": "mean", "cls": "first"}
    if named in known:
        return known[named]
    if named is not None:
        raise ValueError(f"--encoders.text {path}: its 1_Pooling pools by {named!r}; known are mean and cls, or set the pooling yourself")
    with torch.no_grad():
        output = tower.eval()(input_ids=torch.ones(1, 2, dtype=torch.int64))
    return "first" if getattr(output, "pooler_output", None) is None else "own"
