"""What encoders of frames and of words have in common: a transformers tower and one linear projection.

Legend: B items, N tokens or places of an image, C features of the tower, D dimensions of the embedding.
"""

from __future__ import annotations

from typing import NamedTuple

import transformers
from torch import Tensor, nn

from models.batch_norm import hold_batch_norm
from models.encoders.feature_memory import FeatureMemory
from models.encoders.freezing import FrozenLayers, leading_modules, unused_parameters


class TowerOutput(NamedTuple):
    """What one forward of a tower gives before the projection: the pooled feature, and a feature of each token or each place of the image."""

    pooled: Tensor
    tokens: Tensor


class Encoder(nn.Module):
    """A transformers tower and a linear projection without bias: what frames and words have in common.

    Every parameter that requires a gradient takes part in the output, as DDP needs: those of the tower that do not are frozen.
    """

    tower: transformers.PreTrainedModel
    projection: nn.Linear

    def __init__(self, tower: transformers.PreTrainedModel) -> None:
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
