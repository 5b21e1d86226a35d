"""Words against frames of one document, over all ranks: plain, or with momentum encoders, a queue and soft targets.

Legend: B documents of this rank, N of all ranks, M rows of the queue, D dimensions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from launch.distributed import gather_rows, rank
from losses.contrastive import InfoNCE
from losses.soft_contrast import TEMPERATURE_RANGE, SoftContrast
from models.document_encoder import DocumentEncoder
from models.momentum.feature_queue import FeatureQueue
from models.momentum.momentum_copy import MomentumCopy
from pipeline.pairs import row_weights
from pipeline.recipes.qcd.settings import QCDSettings
from pipeline.system import Batch


class PlainImageText(nn.Module):
    """InfoNCE of titles and visions in both directions, the mean of the two. Source: QCD as released computes it (and does not add it)."""

    def __init__(self, settings: QCDSettings) -> None:
        super().__init__()
        self.contrast = InfoNCE(settings.temperature)

    def rows(self, batch: Batch) -> dict[str, Tensor]:
        """Nothing beyond what the documents' rows hold already."""
        return {}

    def forward(self, rows: dict[str, Tensor], has_both: Tensor) -> Tensor:
        """The loss, a float32 scalar, from `title` and `vision` [B, D] of the documents that have both."""
        own, absent = _own(has_both), _absent(has_both)
        weight = row_weights(has_both)
        title, vision = rows["title"], rows["vision"]
        to_vision = self.contrast(title, gather_rows(vision), own, excluded=absent, weight=weight)
        to_title = self.contrast(vision, gather_rows(title), own, excluded=absent, weight=weight)
        return (to_vision + to_title) / 2

    def after_step(self, document: DocumentEncoder) -> None:
        """Nothing is kept from one step to the next."""

    def restart(self, document: DocumentEncoder) -> None:
        """Nothing follows the towers."""


class MomentumImageText(nn.Module):
    """The same against slow copies of the towers, whose latest rows are kept in a queue, and towards targets that the copies soften.

    Source: ALBEF (Li et al. 2021, section 3.2 and 4); QCD's release has it as an option: queue 65,536, soft targets .4, momentum .995,
    learnable temperature from .07.
    """

    def __init__(self, settings: QCDSettings, document: DocumentEncoder) -> None:
        super().__init__()
        self.contrast = SoftContrast(settings.image_text_soft)
        self.slow = MomentumCopy(document, settings.momentum)
        self.titles = FeatureQueue(settings.image_text_queue, settings.dim)
        self.visions = FeatureQueue(settings.image_text_queue, settings.dim)
        self.temperature = nn.Parameter(torch.tensor(0.07))
        self._fresh: list[tuple[Tensor, Tensor]] = []

    @torch.no_grad()
    def rows(self, batch: Batch) -> dict[str, Tensor]:
        """The slow copies' `slow_title` and `slow_vision`, [B, D] without a gradient."""
        slow = self.slow.copy
        return {
            "slow_title": slow.titles(batch["title_ids"], batch["title_mask"], batch["has_words"]),
            "slow_vision": slow.visions(batch["frames"], batch["has_vision"]),
        }

    def forward(self, rows: dict[str, Tensor], has_both: Tensor) -> Tensor:
        """The loss, a float32 scalar; remembers the slow rows until `after_step`."""
        present = gather_rows(has_both)
        slow_title, slow_vision = rows["slow_title"].detach(), rows["slow_vision"].detach()
        titles, visions = gather_rows(slow_title), gather_rows(slow_vision)
        self._fresh.append((titles[present], visions[present]))
        to_vision = self._direction(rows["title"], visions, self.visions, slow_title, has_both)
        to_title = self._direction(rows["vision"], titles, self.titles, slow_vision, has_both)
        return (to_vision + to_title) / 2

    def _direction(self, query: Tensor, candidates: Tensor, queue: FeatureQueue, soft_query: Tensor, has_both: Tensor) -> Tensor:
        empty = ~queue.valid[None].expand(len(query), -1)
        return self.contrast(
            query,
            torch.cat([candidates, queue.features]),
            _own(has_both),
            soft_query,
            temperature=self.temperature,
            excluded=torch.cat([_absent(has_both), empty], dim=1),
            weight=row_weights(has_both),
        )

    def after_step(self, document: DocumentEncoder) -> None:
        """Let the copies follow, keep the temperature within its range, and put the step's slow rows into the queues."""
        self.slow.update(document)
        self.temperature.data.clamp_(*TEMPERATURE_RANGE)
        for titles, visions in self._fresh:
            self.titles.enqueue(titles)
            self.visions.enqueue(visions)
        self._fresh = []

    def restart(self, document: DocumentEncoder) -> None:
        """Begin anew as a copy of `document`."""
        self.slow.restart(document)


def _own(present: Tensor) -> Tensor:
    return torch.arange(len(present), device=present.device) + len(present) * rank()


def _absent(present: Tensor) -> Tensor:
    return ~gather_rows(present)[None].expand(len(present), -1)
