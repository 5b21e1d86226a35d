"""Batches of the pre-training: documents as in fine-tuning, and what is drawn of each of them.

Legend: B documents, L tokens.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.documents import DocumentPreparation
from pipeline.item import Query
from pipeline.masked_words import WordMasking
from pipeline.recipe import Stream
from pipeline.recipes.qcd_pretrain.settings import PretrainSettings
from pipeline.shards import Sample
from pipeline.system import Batch


class PretrainPreparation(DocumentPreparation):
    """A batch of `DocumentPreparation`, in training with `hidden_ids` int64 and `asked` bool [B, L] (the words with some hidden, and which) and
    `draws` float64 [B, 2], uniform in [0, 1), for the choice of wrong partners.

    All of it is drawn with the document's own generator, so that it does not depend on the batch, the worker or the rank.
    """

    def __init__(self, settings: PretrainSettings, image_size: int, tokenizer: Path, stream: Stream) -> None:
        super().__init__(settings, image_size, tokenizer, stream)
        self._share = settings.masked_share if settings.masking_weight else 0.0
        self._masking: WordMasking | None = None

    def sample(self, sample: Sample, rng: np.random.Generator | None, query: Query | None) -> dict[str, Any]:
        row = super().sample(sample, rng, query)
        return row if rng is None else row | {"draws": rng.random(2), "masking": int(rng.integers(2**63))}

    def absent(self, domain: str) -> dict[str, Any]:
        return super().absent(domain) | {"draws": np.zeros(2), "masking": 0}

    def collate(self, rows: list[dict[str, Any]]) -> Batch:
        batch = super().collate(rows)
        if "draws" not in rows[0]:
            return batch
        batch["draws"] = torch.from_numpy(np.stack([row["draws"] for row in rows]))
        if self._share:
            self._masking = self._masking or WordMasking(self._tokenizer, self._share)
            drawn = [self._masking(ids, np.random.default_rng(row["masking"])) for ids, row in zip(batch["title_ids"].numpy(), rows)]
            batch["hidden_ids"] = torch.from_numpy(np.stack([hidden for hidden, _ in drawn]))
            batch["asked"] = torch.from_numpy(np.stack([asked for _, asked in drawn]))
        return batch

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_masking": None}
