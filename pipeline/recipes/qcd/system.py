"""The method: goods and clips are never contrasted with each other, both are drawn to the search query they were found by.

Words and frames of a document are encoded by one text tower (shared with the query) and one vision tower, frames are integrated over time,
and a gate fuses the two; the fused vector is what is searched. A small decoder reconstructs the query from the frames.

    loss = NCE(query, fusion) + NCE(query, title) + NCE(query, vision) + 10 mean((fusion - vision)^2) + reconstruction(query | vision)
         + the options: NCE(title, vision), margin ranking, CyCLIP, cluster cross-entropy

Source: the released program of Real20M; where ours differs by default, the setting says so and how to get it as released.

Legend: B documents of this rank, N of all ranks, M rows of the memory, D dimensions, L tokens.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from launch.distributed import gather_rows, sum_over_ranks, world_size
from losses.contrastive import InfoNCE
from losses.cyclip import CyclicConsistency
from losses.feature_distance import FeatureDistance
from losses.margin_ranking import MarginRanking
from losses.reconstruction import Reconstruction
from models.document_encoder import DocumentEncoder, DocumentVectors, on_rows
from models.encoders import TextEncoder, VisionEncoder
from models.query_decoder import Decoding, QueryDecoder
from pipeline.documents import DocumentPreparation
from pipeline.exporting.document import document_exports
from pipeline.exporting.forms import Exports
from pipeline.pairs import PairContrast, Pairs, row_weights
from pipeline.recipe import Stream
from pipeline.recipes.qcd.image_text import MomentumImageText, PlainImageText
from pipeline.recipes.qcd.memory import PairMemory
from pipeline.recipes.qcd.settings import QCDSettings
from pipeline.system import Batch, System


class QCD(System):
    """The system as one module; see the top of the file.

    Args:
        text: encodes queries and document words, [B, L] -> [B, D].
        vision: encodes frames, uint8 [B, 3, S, S] -> [B, D].
        tokenizer: folder of the text encoder's tokenizer.

    Raises:
        ValueError: settings that exclude each other.
    """

    def __init__(self, settings: QCDSettings, stream: Stream, text: TextEncoder, vision: VisionEncoder, tokenizer: Path) -> None:
        super().__init__()
        if settings.contrast_tile and settings.memory_batches:
            raise ValueError("--system.contrast_tile and --system.memory_batches exclude each other; a batch in tiles can be large without a memory")
        self.settings, self._stream, self.tokenizer = settings, stream, tokenizer
        self.embedding_dim = settings.dim
        self.document = DocumentEncoder(text, vision, frames=settings.frames, heads=settings.heads)
        self.decoder = _decoder(settings, text.vocabulary_size) if settings.generation_weight else None
        self.contrast = PairContrast(InfoNCE(settings.temperature, normalise=settings.normalise_query), settings.contrast_tile)
        self.distance = FeatureDistance(settings.distance_weight)
        self.reconstruction = Reconstruction()
        self.image_text = _image_text(settings, self.document)
        if self.image_text is not None and settings.image_text_released:
            self.watched = frozenset({"image_text"})
        self.cyclip = CyclicConsistency(settings.cyclip_weight) if settings.cyclip_weight else None
        self.ranking = PairContrast(MarginRanking(settings.ranking_margin)) if settings.ranking_weight else None
        self.clusters = nn.Linear(settings.dim, settings.clusters) if settings.cluster_weight else None
        rows = settings.memory_batches * stream.batch_size
        self.memory = PairMemory(rows, settings.dim) if rows else None

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        """Queries, the documents' three vectors, and what reconstruction costs each of them."""
        title, vision, fusion = self._vectors(batch)
        query = on_rows(_read(batch), lambda own: self.document.text(batch["query_ids"][own], batch["query_mask"][own]))
        rows = {"query": query, "title": title, "vision": vision, "fusion": fusion}
        if self.decoder is not None:
            ids, mask = batch["query_ids"], batch["query_mask"].bool() | self.settings.count_padding
            logits = self.decoder(ids, vision)
            rows["generation"], rows["generated"] = self.reconstruction(logits, ids, mask & batch["has_vision"][:, None])
        return rows if self.image_text is None else rows | self.image_text.rows(batch)

    def losses(self, rows: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """The named terms, each a mean over the documents of all ranks (DDP averages what every rank returns)."""
        s = self.settings
        query, title, vision, fusion = rows["query"], rows["title"], rows["vision"], rows["fusion"]
        has_words, has_vision = batch["has_words"], batch["has_vision"]
        read, both = _read(batch), has_words & has_vision
        pairs = Pairs(batch["query"], batch["document_queries"], s.mask_shared_queries, read)
        terms = {
            "fusion": self.contrast(query, fusion, pairs, read, self.memory.remembered(batch) if self.memory is not None else None),
            "title": self.contrast(query, title, pairs, has_words),
            "vision": self.contrast(query, vision, pairs, has_vision),
            "distance": self.distance(fusion, vision, weight=row_weights(both)),
        }
        if self.decoder is not None:
            count = sum_over_ranks(rows["generated"].sum()).clamp(min=1)
            terms["generation"] = s.generation_weight * rows["generation"].sum() * world_size() / count
        if self.image_text is not None:
            terms["image_text"] = s.image_text_weight * self.image_text(rows, both)
        if self.cyclip is not None:
            everyone = gather_rows(read)
            everyone = everyone | ~everyone.any()  # where nothing was read all rows are zeros, and so is the loss
            terms["cyclip"] = self.cyclip(gather_rows(query)[everyone], gather_rows(fusion)[everyone])
        if self.ranking is not None:
            terms["ranking"] = s.ranking_weight * self.ranking(query, fusion, pairs, read)
        if self.clusters is not None:
            terms["clusters"] = s.cluster_weight * self._tell_clusters(fusion, batch["query_cluster"])
        if self.memory is not None:
            self.memory.keep(query, fusion, batch, read)
        return terms

    def embed(self, batch: Batch, domain: str) -> Tensor:
        """[B, D] of length 1: the fused vector of goods and clips, the words' vector of queries."""
        if domain == "query":
            return normalize(self.document.text(batch["title_ids"], batch["title_mask"]), dim=-1)
        return self._vectors(batch).fusion

    def caption(self, batch: Batch, decoding: Decoding) -> list[list[tuple[str, float]]]:
        if self.decoder is None:
            raise ValueError("this checkpoint was trained without a decoder (--system.generation_weight 0): it writes no captions")
        words = transformers.AutoTokenizer.from_pretrained(self.tokenizer, local_files_only=True, trust_remote_code=False)
        seen = batch["has_vision"].nonzero()[:, 0]
        found: list[list[tuple[str, float]]] = [[] for _ in batch["has_vision"]]
        if len(seen):
            vision = self.document.visions(batch["frames"][seen], batch["has_vision"][seen])
            start, end = (words.cls_token_id, words.sep_token_id) if words.cls_token_id is not None else (words.bos_token_id, words.eos_token_id)
            ids, scores = self.decoder.generate(vision.float(), decoding, start=start, end=end, padding=words.pad_token_id or 0)
            for place, texts, values in zip(seen.tolist(), ids, scores.tolist()):
                found[place] = sorted(zip(words.batch_decode(texts, skip_special_tokens=True), values), key=lambda one: -one[1])
        return found

    @property
    def feature_dim(self) -> int:
        """Width of `features`."""
        return self.document.feature_dim

    def features(self, batch: Batch) -> Tensor:
        """The towers' pooled features before any projection: [B, C]."""
        return self.document.features(batch["frames"], batch["has_vision"], batch["title_ids"], batch["title_mask"], batch["has_words"])

    def parts(self) -> dict[str, nn.Module]:
        document = self.document
        found = {"text": document.text, "vision": document.vision, "frame_integration": document.frame_integration, "fusion": document.fusion}
        options = {"decoder": self.decoder, "image_text": self.image_text, "clusters": self.clusters}
        return found | {name: part for name, part in options.items() if part is not None}

    def preparation(self, training: bool) -> DocumentPreparation:
        size = self.settings.image_size or self.document.vision.image_size
        return DocumentPreparation(self.settings, size, self.tokenizer, self._stream, pad_to_length=self.settings.attend_padding)

    def describe(self) -> dict[str, Any]:
        return {"text": self.document.text.describe(), "vision": self.document.vision.describe()}

    def save_files(self, folder: Path) -> None:
        transformers.AutoTokenizer.from_pretrained(self.tokenizer, local_files_only=True, trust_remote_code=False).save_pretrained(
            folder / "tokenizer"
        )

    def weights_replaced(self) -> None:
        if self.image_text is not None:
            self.image_text.restart(self.document)

    def exports(self) -> Exports:
        lengths = {"query": self.settings.query_length, "document": self.settings.title_length}
        return document_exports(self.document, self.tokenizer, lengths)

    def after_step(self) -> None:
        if self.image_text is not None:
            self.image_text.after_step(self.document)
        if self.memory is not None:
            self.memory.after_step()

    def compile_towers(self, backend: str) -> None:
        for encoder in (self.document.text, self.document.vision):
            encoder.tower.compile(backend=backend)

    def _vectors(self, batch: Batch) -> DocumentVectors:
        return self.document(batch["frames"], batch["has_vision"], batch["title_ids"], batch["title_mask"], batch["has_words"])

    def _tell_clusters(self, fusion: Tensor, cluster: Tensor) -> Tensor:
        """Cross-entropy of the cluster from the fused vector, over the queries that have one."""
        assert self.clusters is not None
        if int(cluster.max()) >= self.settings.clusters:
            raise ValueError(f"a query's cluster is {int(cluster.max())}, but --system.clusters is {self.settings.clusters}; it counts ids from 0")
        weight = row_weights(cluster >= 0)
        with torch.autocast(fusion.device.type, enabled=False):
            loss = cross_entropy(self.clusters(fusion.float()), cluster.clamp(min=0), reduction="none")
            return (loss * weight).sum()


def _read(batch: Batch) -> Tensor:
    """[B] bool: a document that has neither words nor frames could not be read, and counts for nothing."""
    return batch["has_words"] | batch["has_vision"]


def _decoder(settings: QCDSettings, vocabulary_size: int) -> QueryDecoder:
    return QueryDecoder(
        vocabulary_size,
        condition_dim=settings.dim,
        width=settings.decoder_width,
        layers=settings.decoder_layers,
        heads=settings.heads,
        max_tokens=max(settings.query_length, settings.decoder_positions),
        dropout=settings.dropout,
        token_type_zero=settings.token_type_zero,
    )


def _image_text(settings: QCDSettings, document: DocumentEncoder) -> PlainImageText | MomentumImageText | None:
    if settings.image_text == "none" or not settings.image_text_weight:
        return None
    return PlainImageText(settings) if settings.image_text == "plain" else MomentumImageText(settings, document)
