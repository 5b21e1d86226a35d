"""QCD: query-guided cross-domain retrieval of goods and micro-videos (Real20M, ACM MM 2023).

Goods and clips are never contrasted with each other: both are drawn to the search query they were found by. Words and frames of a
document are encoded by one text tower (shared with the query) and one vision tower, frames are integrated over time, and a gate fuses
the two; the fused vector is what is searched. A small decoder reconstructs the query from the frames.

    loss = NCE(query, fusion) + NCE(query, title) + NCE(query, vision) + 10 mean((fusion - vision)^2) + reconstruction(query | vision)

Source: the released program of Real20M; where ours differs by default, the field says so and how to get it as released.

Legend: B documents of this rank, N of all ranks, T frames, D dimensions, L tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from transformers import AutoTokenizer

from launch.distributed import gather_rows, rank, sum_over_ranks, world_size
from losses.contrastive import InfoNCE
from losses.feature_distance import FeatureDistance
from losses.reconstruction import Reconstruction
from models.attention_fusion import AttentionFusion
from models.encoders import TextEncoder, VisionEncoder, load_text, load_vision
from models.frame_integration import FrameIntegration
from models.model_folder import check_folder
from models.query_decoder import QueryDecoder
from models.scratch import scratch_text, scratch_vision
from pipeline.documents import DocumentPreparation, DocumentSettings
from pipeline.recipe import Encoders, Optim, Packing, Recipe, Stream, Trainer
from pipeline.system import Batch, System

SCRATCH = "scratch"
"""In place of a model folder: a small tower from scratch."""


@dataclass(frozen=True)
class QCDSettings(DocumentSettings):
    """The paper's own settings."""

    dim: int = 512
    """dimensions D of the common space"""
    temperature: float = 0.05
    """divides similarities; the release uses 1 / 20"""
    normalise_query: bool = True
    """compare cosines; as released: false (the query side keeps its length)"""
    attend_padding: bool = False
    """let the text tower attend to padding; as released: true"""
    mask_shared_queries: bool = True
    """a document that was also found by a query is not its negative; as released: false"""
    count_padding: bool = False
    """let padding count as words to reconstruct; as released: true"""
    distance_weight: float = 10.0
    """weight of mean((fusion - vision)^2)"""
    generation_weight: float = 1.0
    """weight of query reconstruction; 0 = no decoder"""
    decoder_layers: int = 4
    """layers of the decoder"""
    decoder_width: int = 512
    """width of the decoder"""
    heads: int = 8
    """attention heads of the decoder and of the frame integration block"""
    dropout: float = 0.1
    """dropout of the decoder and of towers from scratch; pretrained towers keep their own"""


class QCD(System):
    """The system as one module; see the top of the file.

    Args:
        text: encodes queries and document words, [B, L] -> [B, D].
        vision: encodes frames, uint8 [B, 3, S, S] -> [B, D].
        tokenizer: folder of the text encoder's tokenizer.
    """

    def __init__(self, settings: QCDSettings, stream: Stream, text: TextEncoder, vision: VisionEncoder, tokenizer: Path) -> None:
        super().__init__()
        self.settings, self._stream, self.tokenizer = settings, stream, tokenizer
        self.embedding_dim = settings.dim
        self.text, self.vision = text, vision
        self.frame_integration = FrameIntegration(settings.dim, settings.frames, heads=settings.heads)
        self.fusion = AttentionFusion(settings.dim)
        self.decoder = None
        if settings.generation_weight:
            self.decoder = QueryDecoder(
                text.vocabulary_size,
                condition_dim=settings.dim,
                width=settings.decoder_width,
                layers=settings.decoder_layers,
                heads=settings.heads,
                max_tokens=settings.query_length,
                dropout=settings.dropout,
            )
        self.contrast = InfoNCE(settings.temperature, normalise=settings.normalise_query)
        self.distance = FeatureDistance(settings.distance_weight)
        self.reconstruction = Reconstruction()

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The named terms of the loss, each a mean over the documents of all ranks (DDP averages what every rank returns)."""
        title, vision, fusion = self._document(batch)
        query = self.text(batch["query_ids"], batch["query_mask"])
        has_words, has_vision = batch["has_words"], batch["has_vision"]
        everyone = torch.ones_like(has_words)
        shared = self._shared_queries(batch)
        terms = {
            "fusion": self._contrast(query, fusion, everyone, *shared),
            "title": self._contrast(query, title, has_words, *shared),
            "vision": self._contrast(query, vision, has_vision, *shared),
        }
        terms["distance"] = self.distance(fusion, vision, weight=_row_weights(has_words & has_vision))
        if self.decoder is not None:
            ids, mask = batch["query_ids"], batch["query_mask"].bool() | self.settings.count_padding
            total, count = self.reconstruction(self.decoder(ids, vision), ids, mask & has_vision[:, None])
            terms["generation"] = self.settings.generation_weight * total * world_size() / sum_over_ranks(count).clamp(min=1)
        return terms

    def embed(self, batch: Batch, domain: str) -> Tensor:
        """The fused vector of goods and clips, [B, D], of length 1."""
        return self._document(batch)[2]

    @property
    def feature_dim(self) -> int:
        """Width of `features`."""
        return self.text.width + self.vision.width

    def features(self, batch: Batch) -> Tensor:
        """The towers' pooled features before any projection, words then frames (mean over T), each of length 1, zeros where missing: [B, C]."""
        frames = batch["frames"]
        words = _on_rows(batch["has_words"], lambda rows: normalize(self.text.features(batch["title_ids"][rows], batch["title_mask"][rows]), dim=-1))
        seen = _on_rows(
            batch["has_vision"],
            lambda rows: normalize(self.vision.features(frames[rows].flatten(0, 1)).unflatten(0, (-1, frames.shape[1])).mean(dim=1), dim=-1),
        )
        return torch.cat([words, seen], dim=1)

    def parts(self) -> dict[str, nn.Module]:
        found = {"text": self.text, "vision": self.vision, "frame_integration": self.frame_integration, "fusion": self.fusion}
        return {**found, "decoder": self.decoder} if self.decoder is not None else found

    def preparation(self, training: bool) -> DocumentPreparation:
        size = self.settings.image_size or self.vision.image_size
        return DocumentPreparation(self.settings, size, self.tokenizer, self._stream)

    def describe(self) -> dict[str, Any]:
        return {"text": self.text.describe(), "vision": self.vision.describe()}

    def save_files(self, folder: Path) -> None:
        AutoTokenizer.from_pretrained(self.tokenizer, local_files_only=True).save_pretrained(folder / "tokenizer")

    def _document(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Words, integrated frames and their fusion, each [B, D] of length 1; zeros stand for a modality that is missing, and count nowhere."""
        has_words, has_vision = batch["has_words"], batch["has_vision"]
        title = _on_rows(has_words, lambda rows: normalize(self.text(batch["title_ids"][rows], batch["title_mask"][rows]), dim=-1))
        vision = _on_rows(has_vision, lambda rows: self._integrate(batch["frames"][rows]))
        fusion = self.fusion(title, vision, has_text=has_words, has_vision=has_vision)
        return title, vision, fusion

    def _integrate(self, frames: Tensor) -> Tensor:
        """uint8 [B, T', 3, S, S] -> [B, D]."""
        features = self.vision(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
        return normalize(self.frame_integration(features), dim=-1)

    def _shared_queries(self, batch: Batch) -> tuple[Tensor | None, Tensor | None]:
        """Who is no negative of whom: [B queries, N documents] and [B documents, N queries], True where the document was found by the query."""
        if not self.settings.mask_shared_queries:
            return None, None
        queries, documents = gather_rows(batch["query"]), gather_rows(batch["document_queries"])
        of_documents = (batch["query"][:, None, None] == documents[None]).any(dim=-1)
        of_queries = (queries[None, :, None] == batch["document_queries"][:, None]).any(dim=-1)
        return of_documents, of_queries

    def _contrast(self, query: Tensor, document: Tensor, present: Tensor, of_documents: Tensor | None, of_queries: Tensor | None) -> Tensor:
        """Mean of the contrast in both directions over the documents that have this modality; all ranks' rows are candidates."""
        own = torch.arange(len(query), device=query.device) + len(query) * rank()
        absent = ~gather_rows(present)[None].expand(len(query), -1)
        weight = _row_weights(present)
        to_document = self.contrast(
            query, gather_rows(document), own, excluded=absent if of_documents is None else absent | of_documents, weight=weight
        )
        to_query = self.contrast(document, gather_rows(query), own, excluded=of_queries, weight=weight)
        return (to_document + to_query) / 2


def _row_weights(present: Tensor) -> Tensor:
    """[B] weights of rows, so that the mean over ranks of the weighted sums is the mean over all present rows of all ranks."""
    count = sum_over_ranks(present.sum())
    return present.float() * world_size() / count.clamp(min=1)


def _on_rows(present: Tensor, encode: Callable[[Tensor | slice], Tensor]) -> Tensor:
    """`encode(rows)` for the rows that are present, zeros [B, D] elsewhere.

    Where none is present one row is encoded and multiplied by zero: every parameter stays in the graph, as DDP needs it.
    """
    rows = present.nonzero()[:, 0]
    if len(rows) == len(present):
        return encode(slice(None))  # a view: no copy of all frames
    empty = len(rows) == 0
    if empty:
        rows = torch.zeros(1, dtype=torch.long, device=present.device)
    features = encode(rows)
    out = torch.zeros(len(present), features.shape[1], dtype=features.dtype, device=features.device)
    return out.index_copy(0, rows, features * 0 if empty else features)


def check(recipe: Recipe) -> None:
    """Raise ValueError where a folder that the recipe names is not there, before anything is packed or started."""
    for flag, path in (("--encoders.vision", recipe.encoders.vision), ("--encoders.text", recipe.encoders.text)):
        if not path.startswith(SCRATCH):
            check_folder(path, flag)


def build(recipe: Recipe, packed_tokenizer: Path | None) -> QCD:
    """A new system: towers from the recipe's folders or from scratch, everything else from scratch.

    Args:
        packed_tokenizer: the vocabulary that packing trained; a text tower from scratch uses it.

    Raises:
        ValueError: a folder is missing or does not fit, or there is no vocabulary for a text tower from scratch.
    """
    encoders, settings = recipe.encoders, recipe.system
    tokenizer = packed_tokenizer if encoders.text == SCRATCH else Path(encoders.text)
    if tokenizer is None:
        raise ValueError("a text encoder from scratch needs the vocabulary that packing trains; pack the train split with --vocab_size above 0")
    vocabulary = len(AutoTokenizer.from_pretrained(tokenizer, local_files_only=True))
    if encoders.text == SCRATCH:
        text = scratch_text(settings.dim, vocabulary, dropout=settings.dropout)
    else:
        text = load_text(
            encoders.text,
            dim=settings.dim,
            pooling=encoders.text_pooling,
            attend_padding=settings.attend_padding,
            frozen_layers=encoders.frozen_text_layers,
        )
    size = settings.image_size or None
    if encoders.vision.startswith(SCRATCH):
        vision = scratch_vision(settings.dim, size=encoders.vision.partition(":")[2] or "small", image_size=size)
    else:
        vision = load_vision(
            encoders.vision, dim=settings.dim, image_size=size, frozen_layers=encoders.frozen_vision_layers, batch_norm=encoders.batch_norm
        )
    for tower in (text, vision):
        if encoders.remember_features_mb and tower.frozen_layers == "all":
            tower.remember_features(encoders.remember_features_mb)
    if encoders.gradient_checkpointing and not (text.checkpoint_gradients() and vision.checkpoint_gradients()):
        raise ValueError("--encoders.gradient_checkpointing: transformers does not support it for these encoders; leave it out")
    return _assembled(recipe, text, vision, tokenizer)


def rebuild(recipe: Recipe, description: dict[str, Any], checkpoint: Path) -> QCD:
    """The system that `describe` described, its weights to be loaded, without the encoders' folders."""
    text, vision = TextEncoder.from_description(description["text"]), VisionEncoder.from_description(description["vision"])
    return _assembled(recipe, text, vision, checkpoint / "tokenizer")


def _assembled(recipe: Recipe, text: TextEncoder, vision: VisionEncoder, tokenizer: Path) -> QCD:
    if recipe.trainer.channels_last:
        vision.use_channels_last()
    return QCD(recipe.system, recipe.stream, text, vision, tokenizer)


def real() -> Recipe:
    """The paper's fine-tuning as far as it is released: Chinese-CLIP towers, 16 V100, about two days."""
    return Recipe(
        name="qcd",
        system=QCDSettings(),
        packing=Packing(holdout_videos=5000),
        encoders=Encoders(vision="models/chinese-clip-vit-base-patch16", text="models/chinese-clip-vit-base-patch16"),
        stream=Stream(batch_size=1280, workers=8),
        optim=Optim(
            lr=0.01,
            factors={"text": 1e-2, "vision": 1e-3, "fusion": 1.0, "frame_integration": 1e-2, "decoder": 1e-3},
            schedule="step",
            step_epochs=3,
            gamma=0.1,
            clip_norm=5.0,
        ),
        trainer=Trainer(epochs=10),
    )


def smoke() -> Recipe:
    """The same shape for the sample corpus on one CPU: small towers from scratch, a few minutes."""
    return replace(
        real(),
        name="qcd:smoke",
        system=QCDSettings(
            dim=128, frames=2, image_size=48, query_length=16, title_length=32, heads=4, decoder_width=64, decoder_layers=1, dropout=0.0
        ),
        packing=Packing(holdout_videos=60, shard_samples=256, vocab_size=2000),
        encoders=Encoders(vision="scratch:tiny"),
        stream=Stream(batch_size=32, policy="published", workers=1),
        optim=Optim(name="adamw", lr=4e-3, factors={"text": 0.5}, weight_decay=0.01, schedule="cosine", warmup_steps=20),
        trainer=Trainer(epochs=1000, max_steps=640, validate_every=320, checkpoint_every=160),
    )


def photos() -> Recipe:
    """For a few thousand photos on a CPU, with pretrained towers (MobileNetV2 and MiniLM, say) that stay as they are.

    Their features of a photo and of its mirror image are computed once, and what is trained is everything behind them. So there are no
    random crops, which would make every frame a new one; photos are enlarged to 288 pixels, at which MobileNetV2's features retrieve a
    little better than at 224. No decoder: over a pretrained tokenizer's 30,000 words it takes two thirds of a step on a CPU. Batches are
    mixed, which draws goods and clips closer than single-domain ones do where a batch is small.
    """
    return replace(
        real(),
        name="qcd:photos",
        system=QCDSettings(
            dim=256,
            goods_words=("title", "description"),
            query_length=16,
            title_length=48,
            image_size=288,
            crop=(1.0, 1.0),
            temperature=0.1,
            heads=4,
            generation_weight=0.0,
        ),
        packing=Packing(holdout_videos=60, shard_samples=256),
        encoders=Encoders(
            vision="models/mobilenet_v2",
            text="models/all-MiniLM-L6-v2",
            frozen_vision_layers="all",
            frozen_text_layers="all",
            remember_features_mb=512,
        ),
        stream=Stream(batch_size=64, policy="published", domains="mixed", workers=2),
        optim=Optim(name="adamw", lr=3e-3, factors={"frame_integration": 0.05}, weight_decay=0.01, schedule="cosine", warmup_steps=20),
        trainer=Trainer(epochs=1000, max_steps=600, validate_every=300, checkpoint_every=300, threads=2),
    )


VARIANTS: dict[str, Callable[[], Recipe]] = {"real": real, "smoke": smoke, "photos": photos}
