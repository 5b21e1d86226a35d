"""Samples as the frozen models take them: frames and words as in an evaluation, each picture once.

Legend: B items, N pictures of the item that has most, S pixels a side, L tokens.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.documents import DocumentPreparation, DocumentSettings
from pipeline.featuring.settings import NO_MODEL, FeatureSettings
from pipeline.item import CLIPS, Query
from pipeline.recipe import Stream
from pipeline.shards import Sample
from pipeline.system import Batch


class FeaturePreparation(DocumentPreparation):
    """Frames and words of items of one domain, nothing drawn and nothing disturbed.

    With a vision model a batch holds `frames` uint8 [B, N, 3, S, S], zeros past the `pictures` int64 [B] of an item; with a text model `ids` and
    `mask` int64 [B, L] and `has_words` bool [B]. Either is absent where no item of the batch has any. Nothing is read for a model that is not there.

    Args:
        image_size: S in pixels.
    """

    def __init__(self, settings: FeatureSettings, image_size: int) -> None:
        taken = DocumentSettings(
            frames=settings.frames,
            goods_words=settings.goods_words,
            video_words=settings.video_words,
            recognised_length=settings.recognised_length,
            title_length=settings.text_length,
        )
        stream = Stream(decoder=settings.decoder, decode_timeout_s=settings.decode_timeout_s)
        super().__init__(taken, image_size, Path(settings.text), stream)
        self._looks, self._reads = settings.vision != NO_MODEL, settings.text != NO_MODEL

    def sample(self, sample: Sample, rng: np.random.Generator | None, query: Query | None) -> dict[str, Any]:
        # The record is read in any case: a damaged one is then noticed here, where failures are listed.
        words = self.words_of(sample.domain, sample.words(), None)
        return {"frames": self._pictures(sample) if self._looks else None, "words": words if self._reads else ""}

    def _pictures(self, sample: Sample) -> np.ndarray | None:
        """uint8 [n, 3, S, S]; None where there is no media."""
        if sample.domain == "query":
            return None
        count = self._settings.frames if sample.domain in CLIPS else 1
        if sample.video() is None:
            count = min(count, len(sample.frames()))
        return self._reader.evaluation_frames(sample, count, self._size)

    def collate(self, rows: list[dict[str, Any]]) -> Batch:
        batch: Batch = {}
        pictures = [0 if row["frames"] is None else len(row["frames"]) for row in rows]
        if any(pictures):
            frames = np.zeros((len(rows), max(pictures), 3, self._size, self._size), dtype=np.uint8)
            for place, (row, count) in enumerate(zip(rows, pictures)):
                if count:
                    frames[place, :count] = row["frames"]
            batch |= {"frames": torch.from_numpy(frames), "pictures": torch.tensor(pictures)}
        if any(row["words"] for row in rows):
            ids, mask = self._tokens([row["words"] for row in rows], self._settings.title_length)
            batch |= {"ids": ids, "mask": mask, "has_words": torch.tensor([bool(row["words"]) for row in rows])}
        return batch
