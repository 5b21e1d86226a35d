"""Goods, clips and search queries as batches: which frames and words of a document are taken, and how a batch of them looks.

Legend: B documents, T frames, S pixels a side, L tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor

from pipeline.frames import FrameReader
from pipeline.item import CLIPS, NO_QUERY, Query
from pipeline.media.transforms import RandomResizedCropFlip
from pipeline.recipe import Stream
from pipeline.shards import Sample
from pipeline.system import Batch, Preparation
from pipeline.title_noise import noisy_title

MOST_QUERIES = 64
"""Queries of one document that a batch carries for masking; a document's further ones are not masked."""


@dataclass(frozen=True)
class DocumentSettings:
    """What is taken of a document; the defaults are those of QCD as released."""

    frames: int = 5
    """frames T of a clip: one random frame out of each of T equal segments in training, segment centres in evaluation"""
    image_size: int = 0
    """side of the square input in pixels; 0 = what the vision encoder's folder says"""
    query_length: int = 20
    """tokens of a query at most"""
    title_length: int = 90
    """tokens of a document's words at most"""
    goods_words: tuple[str, ...] = ("title",)
    """which words of a good are encoded, joined in this order"""
    video_words: tuple[str, ...] = ("title", "recognised_text", "caption")
    """which words of a clip are encoded, joined by | in this order"""
    recognised_length: int = 40
    """characters kept of recognised text"""
    keep_words: float = 0.8
    """probability that each of a clip's words is kept in training; evaluation keeps all"""
    title_noise: float = 0.6
    """probability that a good's title of 10 characters or more is disturbed in training; 0 = never"""
    crop: tuple[float, float] = (0.64, 1.0)
    """least and largest share of a frame's area that the random crop keeps in training, one crop a clip"""
    flip: float = 0.5
    """probability of a horizontal flip in training, one draw a clip"""


class DocumentPreparation(Preparation):
    """Frames, words and query of goods and clips as tensors, as QCD prepares them.

    A batch holds `frames` uint8 [B, T', 3, S, S] (T' = 1 where all are single images), `has_vision`, `title_ids` and `title_mask` [B, L],
    `has_words`, and in training `query_ids` and `query_mask`, `query` [B] (the drawn query's number), `query_cluster` [B] (its cluster at
    level 0, -1 where it has none) and `document_queries` [B, MOST_QUERIES] (the numbers of all queries that the document was found by, the
    drawn one first, padded with -1).

    An item of domain query, which is for evaluation, is its words alone, cut to `query_length` tokens; a batch of such items holds no others.

    Args:
        image_size: S in pixels.
        tokenizer: folder of the text encoder's tokenizer.
        stream: names the video decoder and its time limit.
        pad_to_length: pad words to `title_length` and queries to `query_length` tokens, in place of the batch's longest. As released, where
            the text tower attends to padding: a vector then does not depend on what else is in its batch.
    """

    def __init__(self, settings: DocumentSettings, image_size: int, tokenizer: Path, stream: Stream, *, pad_to_length: bool = False) -> None:
        self._settings, self._tokenizer_folder = settings, tokenizer
        self._padding = "max_length" if pad_to_length else "longest"
        self._tokenizer: Any = None
        self._size = image_size
        self._crop = RandomResizedCropFlip(image_size, settings.crop, flip=settings.flip)
        self._reader = FrameReader(stream.decoder, stream.decode_timeout_s)

    def sample(self, sample: Sample, rng: np.random.Generator | None, query: Query | None) -> dict[str, Any]:
        words = self.words_of(sample.domain, sample.words(), rng)
        frames = None if sample.domain == "query" else self._frames(sample, rng)
        if not words and frames is None:
            words = self.words_of(sample.domain, sample.words(), None)  # training drops some of a clip's words, but not all that there is of it
        if not words and frames is None:
            raise ValueError(f"{sample.name} has neither words nor media; leave it out of the corpus")
        return {
            "domain": sample.domain,
            "frames": frames,
            "words": words,
            "query": query,
            "queries": [own.id for own in sample.queries()] if query else [],
        }

    def absent(self, domain: str) -> dict[str, Any]:
        """A document of training without words, frames and query."""
        return {"domain": domain, "frames": None, "words": "", "query": NO_QUERY, "queries": []}

    def words_of(self, domain: str, words: dict[str, str], rng: np.random.Generator | None) -> str:
        """The words of an item as one text; those that are absent leave no trace.

        In training, as released, clips drop words and goods' titles are disturbed.
        """
        s = self._settings
        kinds = {"query": ("title",), "goods": s.goods_words}.get(domain, s.video_words)
        kept = [kind for kind in kinds if words.get(kind)]
        if rng is not None and domain != "goods":
            kept = [kind for kind in kept if rng.random() < s.keep_words]
        elif rng is not None and "title" in kept:
            words = {**words, "title": noisy_title(words["title"], s.title_noise, rng)}
        return "|".join(words[kind][: s.recognised_length] if kind == "recognised_text" else words[kind] for kind in kept)

    def _frames(self, sample: Sample, rng: np.random.Generator | None) -> np.ndarray | None:
        """uint8 [T', 3, S, S]: T frames of a clip, one image of any other item; None where there is no media."""
        count = self._settings.frames if sample.domain in CLIPS else 1
        if rng is None:
            return self._reader.evaluation_frames(sample, count, self._size)
        return self._reader.training_frames(sample, count, self._crop, rng)

    def collate(self, rows: list[dict[str, Any]]) -> Batch:
        longest = max((len(row["frames"]) for row in rows if row["frames"] is not None), default=1)
        frames = np.zeros((len(rows), longest, 3, self._size, self._size), dtype=np.uint8)
        for place, row in enumerate(rows):
            if row["frames"] is not None:
                frames[place] = row["frames"]  # one image is broadcast over the T positions, as published
        searches = rows[0]["domain"] == "query"
        assert all((row["domain"] == "query") == searches for row in rows), "search queries and other items are cut to different lengths"
        length = self._settings.query_length if searches else self._settings.title_length
        title_ids, title_mask = self._tokens([row["words"] for row in rows], length)
        batch = {
            "frames": torch.from_numpy(frames),
            "has_vision": torch.tensor([row["frames"] is not None for row in rows]),
            "title_ids": title_ids,
            "title_mask": title_mask,
            "has_words": torch.tensor([bool(row["words"]) for row in rows]),
        }
        if rows[0]["query"] is not None:  # NO_QUERY too: training
            batch["query_ids"], batch["query_mask"] = self._tokens([row["query"].words for row in rows], self._settings.query_length)
            batch["query"] = torch.tensor([row["query"].id for row in rows])
            batch["query_cluster"] = torch.tensor([(*row["query"].cluster, -1)[0] for row in rows])
            batch["document_queries"] = torch.full((len(rows), MOST_QUERIES), -1)
            for place, row in enumerate(rows):
                own = [row["query"].id, *(number for number in row["queries"] if number != row["query"].id)][:MOST_QUERIES]
                batch["document_queries"][place, : len(own)] = torch.tensor(own)
        return batch

    def _tokens(self, texts: list[str], length: int) -> tuple[Tensor, Tensor]:
        if self._tokenizer is None:
            self._tokenizer = transformers.AutoTokenizer.from_pretrained(self._tokenizer_folder, local_files_only=True, trust_remote_code=False)
        encoded = self._tokenizer(texts, padding=self._padding, truncation=True, max_length=length, return_tensors="pt")
        return encoded["input_ids"], encoded["attention_mask"]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_tokenizer": None}
