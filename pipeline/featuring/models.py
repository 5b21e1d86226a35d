"""The frozen models of the feature stage: from folders, to a feature of each picture and each text.

Legend: B items, N pictures of an item at most, T frames kept apart, C and D features of the vision and the text model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor

from models.encoders import Encoder, TextEncoder, VisionEncoder, load_text, load_vision
from pipeline.featuring.preparation import FeaturePreparation
from pipeline.featuring.settings import NO_MODEL, FeatureSettings
from pipeline.item import CLIPS
from pipeline.media.sampling import frame_positions
from pipeline.system import Batch

EXAMPLES = {"vision": "microsoft/resnet-152", "text": "google-bert/bert-base-uncased"}


class FeatureModels:
    """A vision model, a text model or both, frozen. `vision` and `words` are the features they make.

    Args:
        vision, text: encoders whose towers are taken, without their projections; None: that feature is not made.
    """

    def __init__(self, settings: FeatureSettings, vision: VisionEncoder | None, text: TextEncoder | None) -> None:
        self.settings, self.vision, self.text = settings, vision, text

    @property
    def widths(self) -> dict[str, int]:
        """The width of each feature that is made: "vision" C, "words" D."""
        return {name: encoder.width for name, encoder in (("vision", self.vision), ("words", self.text)) if encoder is not None}

    def to(self, device: torch.device) -> FeatureModels:
        """The same on `device`."""
        for encoder in (self.vision, self.text):
            if encoder is not None:
                encoder.to(device)
        return self

    def preparation(self) -> FeaturePreparation:
        """How samples become batches."""
        no_picture = 1  # an image size must be one, though nothing is looked at
        return FeaturePreparation(self.settings, no_picture if self.vision is None else self.vision.image_size)

    @cached_property
    def fingerprint(self) -> dict[str, Any]:
        """All that the features depend on but the samples and the precision: what is computed, and checksums of weights and vocabulary."""
        s = self.settings
        found: dict[str, Any] = {"vision_model": None, "text_model": None}
        if self.vision is not None:
            found |= {"vision_model": type(self.vision.tower).__name__, "vision_weights": _weights_checksum(self.vision)}
            found |= {"image_size": self.vision.image_size, "image_mean": list(self.vision.image_mean), "image_std": list(self.vision.image_std)}
            found |= {"frames": s.frames, "pool": s.pool, "decoder": s.decoder}
        if self.text is not None:
            found |= {"text_model": type(self.text.tower).__name__, "text_weights": _weights_checksum(self.text)}
            found |= {"text_vocabulary": _vocabulary_checksum(s.text), "text_length": s.text_length, "text_pooling": self.text.pooling}
            found |= {"goods_words": list(s.goods_words), "video_words": list(s.video_words), "recognised_length": s.recognised_length}
        return found

    @torch.inference_mode()
    def features(self, batch: Batch, items: int, domain: str) -> list[dict[str, np.ndarray]]:
        """For each of the batch's `items`, all of `domain`: "vision" float32 [C] or [T, C] and "words" float32 [D], as far as it has them."""
        rows: list[dict[str, np.ndarray]] = [{} for _ in range(items)]
        if "frames" in batch:
            assert self.vision is not None, "frames were read and there is no vision model"
            counts = batch["pictures"]
            taken = torch.arange(batch["frames"].shape[1], device=counts.device) < counts[:, None]
            found = np.split(_numbers(self.vision.features(batch["frames"][taken])), np.cumsum(counts.tolist())[:-1])
            for row, pictures in zip(rows, found):
                if len(pictures):
                    row["vision"] = self._of_item(pictures, domain)
        if "ids" in batch:
            assert self.text is not None, "words were read and there is no text model"
            worded = batch["has_words"]
            texts = iter(_numbers(self.text.features(batch["ids"][worded], batch["mask"][worded])))
            for row, has_words in zip(rows, worded.tolist()):
                if has_words:
                    row["words"] = next(texts)
        return rows

    def _of_item(self, pictures: np.ndarray, domain: str) -> np.ndarray:
        """[C] or [T, C] of an item's n pictures [n, C]."""
        if self.settings.pool == "none" and domain in CLIPS:
            return pictures[frame_positions(len(pictures), self.settings.frames)]
        return pictures.mean(axis=0)


def load_models(settings: FeatureSettings) -> FeatureModels:
    """The models in the folders that `settings` names, float32, on the CPU. Nothing is downloaded.

    Raises:
        ValueError: a folder is missing, unfinished or of another kind, or the text model has no positions for `text_length` tokens.
    """
    vision: VisionEncoder | None = None
    text: TextEncoder | None = None
    with _flags_of_this_stage():
        if settings.vision != NO_MODEL:
            _require_folder("vision", settings.vision)
            vision = load_vision(settings.vision, dim=1, image_size=settings.image_size or None, frozen_layers="all").use_channels_last()
        if settings.text != NO_MODEL:
            _require_folder("text", settings.text)
            text = load_text(settings.text, dim=1, pooling=settings.text_pooling, frozen_layers="all")
    if text is not None and text.max_tokens is not None and settings.text_length > text.max_tokens:
        raise ValueError(f"--text_length {settings.text_length}: the model in {settings.text} has positions for {text.max_tokens} tokens at most")
    return FeatureModels(settings, vision, text)


def _require_folder(part: str, path: str) -> None:
    if not Path(path).is_dir():
        fetch = f"hf download {EXAMPLES[part]} --local-dir"
        raise ValueError(f"--{part} {path}: no such folder; fetch one first, e.g. {fetch} {path}, or go without with --{part} {NO_MODEL}")


@contextmanager
def _flags_of_this_stage() -> Iterator[None]:
    """Errors of loading that name a recipe's flags, with those of this stage."""
    try:
        yield
    except ValueError as error:
        raise ValueError(str(error).replace("--encoders.", "--")) from error


def _numbers(features: Tensor) -> np.ndarray:
    return features.float().cpu().numpy()


def _weights_checksum(encoder: Encoder) -> str:
    """SHA-256 of the tower's tensors by name, however they are cut into files; a two-tower folder counts with the tower that is used."""
    digest = hashlib.sha256()
    for name, tensor in sorted(encoder.tower.state_dict().items()):
        digest.update(f"{name} {list(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.cpu().contiguous().numpy())
    return digest.hexdigest()


def _vocabulary_checksum(folder: str) -> str:
    vocabulary = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False).get_vocab()
    return hashlib.sha256("\n".join(f"{number} {token}" for token, number in sorted(vocabulary.items())).encode()).hexdigest()
