"""The method: a clip's frames and words look at each other, its neighbours' do likewise, and an MLP tells its popularity from both.

    loss = mean (prediction - popularity)^2

The network and its formula: `models/popularity.py`. Source: MMRA, SIGIR 2024, and its program; where ours differs by default, the setting says so and
how to get it as released.

Legend: B clips of this rank, k neighbours.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, mse_loss

from models.fusion.neighbours import Neighbours
from models.popularity import PopularityNetwork
from pipeline.bank.lists import NeighbourLists
from pipeline.pairs import row_weights
from pipeline.recipes.mmra.preparation import NeighbourPreparation
from pipeline.recipes.mmra.settings import MMRASettings
from pipeline.recipes.mmra.sizes import DOMAIN, MODALITIES, Sizes
from pipeline.shards import ShardSet
from pipeline.system import Batch, System


class MMRA(System):
    """The system as one module; see the top of the file.

    Args:
        sizes: widths of the features; those of a modality that the settings leave out do not matter.

    Raises:
        ValueError: nothing is left to look at, or a setting is out of range.
    """

    predicted_domain = DOMAIN
    embedding_dim, normalised = 1, False

    def __init__(self, settings: MMRASettings, sizes: Sizes) -> None:
        super().__init__()
        s = settings
        if s.retrieval and s.neighbours < 1:
            raise ValueError(f"--system.neighbours {s.neighbours}: at least 1, or leave retrieval out with --system.retrieval false")
        if s.temperature <= 0:
            raise ValueError(f"--system.temperature {s.temperature}: must be above 0, it divides similarities")
        if not 0 <= s.dropout < 1:
            raise ValueError(f"--system.dropout {s.dropout}: a share of the features, from 0 to less than 1")
        self.settings, self.neighbours_used = s, s.neighbours if s.retrieval else 0
        self._sizes = Sizes(sizes.vision if s.vision else 0, sizes.words if s.words else 0, sizes.mean)
        self.network = PopularityNetwork(
            self._sizes.vision,
            self._sizes.words,
            form=s.form,
            width=s.width,
            alpha=s.alpha,
            retrieval=s.retrieval,
            positive=s.positive,
            negative=s.negative,
            hidden=s.hidden,
        )
        if s.start_at_mean:
            nn.init.constant_(self.network.last.bias, sizes.mean)

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        """`prediction` float32 [B]."""
        return {"prediction": self.predict(batch)}

    def losses(self, rows: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """The squared error, a mean over the clips of all ranks whose popularity is known (DDP averages what every rank returns)."""
        known = ~batch["popularity"].isnan()
        error = mse_loss(rows["prediction"].float(), batch["popularity"].nan_to_num(0.0), reduction="none")
        return {"squared_error": (error * row_weights(known)).sum()}

    def predict(self, batch: Batch) -> Tensor:
        own = (self._seen(batch, "vision"), batch.get("has_vision"), self._seen(batch, "words"), batch.get("has_words"))
        return self.network(*own, self._neighbours(batch) if self.settings.retrieval else None)

    def _neighbours(self, batch: Batch) -> Neighbours:
        near = {name: self._seen(batch, f"near_{name}") for name in MODALITIES if f"near_{name}" in batch}
        return Neighbours(
            batch["similarity"] / self.settings.temperature,
            batch["labels"],
            batch["present"],
            near.get("vision"),
            near.get("words"),
            batch.get("near_has_vision"),
            batch.get("near_has_words"),
        )

    def _seen(self, batch: Batch, name: str) -> Tensor:
        """The features `name`, some left out in training; nothing where the modality is not looked at."""
        if name not in batch:
            return torch.empty(0, device=self.device())
        return dropout(batch[name], self.settings.dropout, self.training)

    def embed(self, batch: Batch, domain: str) -> Tensor:
        raise ValueError("mmra predicts popularity and has no vectors to search with; evaluate it with python -m pipeline.predict")

    def parts(self) -> dict[str, nn.Module]:
        return {"network": self.network}

    def preparation(self, training: bool) -> NeighbourPreparation:
        return NeighbourPreparation(self._sizes, self.neighbours_used, self.settings.remember_mb)

    def require(self, shards: ShardSet) -> None:
        shards.require_domains(DOMAIN)
        if not self.settings.retrieval:
            return
        lists = NeighbourLists(shards.folder)
        if lists.bank != self.settings.bank:
            raise ValueError(
                f"{shards.folder}: its neighbours are of the bank {lists.bank}, --system.bank is {self.settings.bank}; find them again with "
                f"python -m pipeline.neighbours --bank {self.settings.bank} --overwrite, or set --system.bank {lists.bank}"
            )
        if lists.kept < self.settings.neighbours:
            raise ValueError(
                f"{shards.folder}: {lists.kept} neighbours of each clip were kept, --system.neighbours is {self.settings.neighbours}; find them "
                f"again with --kept {self.settings.neighbours}, or look at fewer"
            )

    def describe(self) -> dict[str, Any]:
        return {"sizes": self._sizes.to_dict()}
