"""Clips as vectors that are searched: their words and captions by a text model, or features that they have.

Legend: B clips, L tokens, D dimensions.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor, nn
from torch.nn.functional import normalize

from models.encoders import TextEncoder
from pipeline.bank.captions import read_captions
from pipeline.bank.settings import BankSettings
from pipeline.feature_member import feature_width, read_feature
from pipeline.item import Query
from pipeline.shards import Sample, ShardSet
from pipeline.system import Batch, Embedder, Preparation


class TextVectors(Embedder):
    """The text model's vector of a clip's words and captions.

    Args:
        encoder: its tower is taken, without a projection.
        captions: folder of the split's captions (`pipeline.bank.captions`); None: words alone.
    """

    def __init__(self, settings: BankSettings, encoder: TextEncoder, captions: Path | None) -> None:
        super().__init__()
        self._settings, self._captions, self.encoder = settings, captions, encoder
        self.embedding_dim, self.normalised = encoder.width, settings.similarity == "cosine"

    def embed(self, batch: Batch, domain: str) -> Tensor:
        found = self.encoder.features(batch["ids"], batch["mask"]).float()
        return normalize(found, dim=-1) if self.normalised else found

    def preparation(self, training: bool) -> Preparation:
        return RetrievalTexts(self._settings, self._captions)


class RetrievalTexts(Preparation):
    """Words in the order of the settings, then captions, in the prompt: a batch holds `ids` and `mask` int64 [B, L]."""

    def __init__(self, settings: BankSettings, captions: Path | None) -> None:
        self._settings, self._captions = settings, captions
        self._tokenizer: Any = None
        self._read: dict[str, dict[str, list[str]]] = {}

    def sample(self, sample: Sample, rng: np.random.Generator | None, query: Query | None) -> dict[str, Any]:
        words = sample.words()
        parts = [words[kind] for kind in self._settings.words if words.get(kind)] + self._captions_of(sample)
        if not parts:
            raise ValueError(f"{sample.name} has no words to be looked up by")
        return {"text": self._settings.prompt.replace("{text}", " ".join(parts))}

    def _captions_of(self, sample: Sample) -> list[str]:
        if self._captions is None:
            return []
        if sample.shard not in self._read:
            self._read = {sample.shard: read_captions(self._captions / f"{sample.shard}.jsonl")}
        return self._read[sample.shard].get(sample.id, [])

    def collate(self, rows: list[dict[str, Any]]) -> Batch:
        if self._tokenizer is None:
            self._tokenizer = transformers.AutoTokenizer.from_pretrained(self._settings.text, local_files_only=True, trust_remote_code=False)
        options = {"padding": "longest", "truncation": True, "max_length": self._settings.text_length, "return_tensors": "pt"}
        encoded = self._tokenizer([row["text"] for row in rows], **options)
        return {"ids": encoded["input_ids"], "mask": encoded["attention_mask"]}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_tokenizer": None}


class FeatureVectors(Embedder):
    """Features of the clips side by side; zeros stand for one that a clip lacks.

    Args:
        shards: where the widths are read off.

    Raises:
        ValueError: no clip has one of the features.
    """

    def __init__(self, settings: BankSettings, shards: ShardSet, domain: str) -> None:
        super().__init__()
        self._widths = {name: feature_width(shards, domain, name) for name in settings.features}
        if missing := [name for name, width in self._widths.items() if not width]:
            raise ValueError(
                f"{shards.folder}: no {domain} item has {missing[0]}.npy; compute it with python -m pipeline.features, or look up by other --features"
            )
        self.embedding_dim, self.normalised = sum(self._widths.values()), settings.similarity == "cosine"

    def embed(self, batch: Batch, domain: str) -> Tensor:
        return batch["vectors"]

    def preparation(self, training: bool) -> Preparation:
        return _Features(self._widths, self.normalised)


class _Features(Preparation):
    def __init__(self, widths: dict[str, int], scaled: bool) -> None:
        self._widths, self._scaled = widths, scaled

    def sample(self, sample: Sample, rng: np.random.Generator | None, query: Query | None) -> dict[str, Any]:
        parts = []
        for name, width in self._widths.items():
            found = read_feature(sample, name)
            own = np.zeros(width, np.float32) if found is None else found.mean(axis=0) if found.ndim == 2 else found
            if len(own) != width:
                raise ValueError(f"{sample.name}: {name}.npy has {len(own)} features, those of the train split have {width}")
            parts.append(_length_one(own) if self._scaled else own)
        vector = np.concatenate(parts)
        if not vector.any():
            raise ValueError(f"{sample.name} has none of the features {', '.join(self._widths)} to be looked up by")
        return {"vector": _length_one(vector) if self._scaled else vector}

    def collate(self, rows: list[dict[str, Any]]) -> Batch:
        return {"vectors": torch.from_numpy(np.stack([row["vector"] for row in rows]))}


def _length_one(vector: np.ndarray) -> np.ndarray:
    return vector / max(float(np.linalg.norm(vector)), 1e-12)


def weights_checksum(module: nn.Module) -> str:
    """SHA-256 of a model's tensors by name."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {list(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.cpu().contiguous().numpy())
    return digest.hexdigest()
