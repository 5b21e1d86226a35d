"""The method: one document at a time, its words against its frames, and no query.

    loss = VTC + VTM + MLM + sum_l w_l EPL_l
    VTC    InfoNCE of titles and visions of the same document, both ways
    VTM    does the fusion encoder see that words and frames belong together? right pairs against hard wrong ones
    MLM    masked words from the other words and the frames, by the fusion encoder
    EPL_l  cross-entropy of the fusion encoder's prediction of level l's entities towards a frozen prompter's soft scores; w_l goes from coarse
           to fine over the run

Towers, frame integration and fusion are those of QCD, which starts from a checkpoint of this (--init).

Source: the figure of QCD (Real20M, ACM MM 2023) and the system it follows, ALPRO (Li et al. 2022). The program was never released and no
number is known, so ours are: which pairs are negatives, where wrong partners come from, every weight, temperature and schedule, and that the
gate of the fused vector is not trained: it stays at half words and half frames, which is what is searched while pre-training, and only
fine-tuning learns when to trust which.

Legend: B documents of this rank, N of all ranks, L tokens, P places of an image, W width of the fusion encoder, D dimensions, K entities.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from torch.nn.functional import normalize, pad

from launch.distributed import gather_rows, sum_over_ranks, world_size
from losses.contrastive import InfoNCE
from losses.masked_words import MaskedWords
from losses.matching import Matching
from losses.soft_targets import SoftTargets
from models.document_encoder import DocumentEncoder, Rows, on_rows
from models.encoders import TextEncoder, VisionEncoder
from models.fusion.cross_encoder import CrossEncoder
from models.word_head import WordHead
from pipeline.exporting.document import document_exports
from pipeline.exporting.forms import Exports
from pipeline.pairs import Pairs, row_weights
from pipeline.recipe import Stream
from pipeline.recipes.qcd_pretrain.exchange import Exchange
from pipeline.recipes.qcd_pretrain.preparation import PretrainPreparation
from pipeline.recipes.qcd_pretrain.prompter import Prompter
from pipeline.recipes.qcd_pretrain.settings import PretrainSettings
from pipeline.recipes.qcd_pretrain.wrong_pairs import wrong_partners
from pipeline.system import Batch, System


class QCDPretrain(System):
    """The system as one module; see the top of the file.

    Rows of `encode` follow from their document alone; wrong pairs are formed, and go through the fusion encoder, in `losses`, as a whole
    (--trainer.piece_size does not cut that part).

    Args:
        text: encodes words, [B, L] -> [B, D].
        vision: encodes frames, uint8 [B, 3, S, S] -> [B, D].
        tokenizer: folder of the text encoder's tokenizer.
        prompter: scores frames against entities; None: no entity prompts.
    """

    def __init__(
        self, settings: PretrainSettings, stream: Stream, text: TextEncoder, vision: VisionEncoder, tokenizer: Path, prompter: Prompter | None
    ) -> None:
        super().__init__()
        s = settings
        self.settings, self._stream, self.tokenizer = s, stream, tokenizer
        self.embedding_dim = s.dim
        self.document = DocumentEncoder(text, vision, frames=s.frames, heads=s.heads)
        for parameter in self.document.fusion.requires_grad_(False).parameters():
            nn.init.zeros_(parameter)
        self.contrast = InfoNCE(s.temperature)
        fuses = s.matching_weight or s.masking_weight or prompter is not None
        self.cross = (
            CrossEncoder(s.dim, text.width, vision.width, width=s.cross_width, layers=s.cross_layers, heads=s.cross_heads, dropout=s.dropout)
            if fuses
            else None
        )
        self.matching = nn.Linear(s.cross_width, 1) if s.matching_weight else None
        self.words = WordHead(s.cross_width, text.word_embeddings().shape[1], text.vocabulary_size) if s.masking_weight else None
        self.prompter = prompter
        self.entities = nn.ModuleList(nn.Linear(s.cross_width, len(names)) for names in (prompter.entities if prompter else []))
        self.matching_loss, self.masked_words, self.soft_targets = Matching(), MaskedWords(), SoftTargets()
        self.before_step(0.0)

    def before_step(self, progress: float) -> None:
        """Set the levels' weights: linear from `level_weights_first` to `level_weights_last`."""
        first, last = self.settings.level_weights_first, self.settings.level_weights_last
        self.level_weights = [begin + progress * (end - begin) for begin, end in zip(first, last)]

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        """Both vectors of the documents, what the fusion encoder makes of right pairs, and the targets that the prompter sets."""
        mask, both = batch["title_mask"], batch["has_words"] & batch["has_vision"]
        if self.cross is None:
            # No tokens are needed, so that frozen towers' features can be remembered.
            title, vision, _ = self.document(*self._of(batch))
            return {"title": title, "vision": vision}
        document = self.document.tokens(*self._of(batch), grid=self.settings.places_grid)
        rows = {"title": document.title, "vision": document.vision}
        places, cross = self.cross.places(document.vision, document.places), self.cross
        if self.matching is not None or self.prompter is not None:
            words = cross.words(document.title, document.words)
            pair = on_rows(both, lambda own: cross(words[own], mask[own], places[own])[:, 0])
            if self.matching is not None:
                rows |= {"words": words, "places": places, "right": self.matching(pair)[:, 0]}
            if self.prompter is not None:
                for level, (head, scores) in enumerate(zip(self.entities, self.prompter(batch["frames"])), start=1):
                    rows |= {f"entities_{level}": head(pair), f"scores_{level}": scores}
        if self.words is not None:

            def read(own: Rows) -> Tensor:
                hidden = self.document.text.outputs(batch["hidden_ids"][own], mask[own])
                title = normalize(self.document.text.projection(hidden.pooled), dim=-1)
                return cross(cross.words(title, hidden.tokens), mask[own], places[own])

            texts, positions = (batch["asked"] & both[:, None]).nonzero(as_tuple=True)
            logits = self.words(on_rows(both, read)[texts, 1 + positions], self.document.text.word_embeddings())
            rows["masked"] = self.masked_words(logits, batch["title_ids"][texts, positions], texts, len(both))
            rows["asked"] = torch.zeros_like(rows["masked"]).index_add(0, texts, torch.ones_like(texts, dtype=torch.float32))
        return rows

    def losses(self, rows: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """The named terms, each a mean over the documents of all ranks that have words and frames (DDP averages what every rank returns)."""
        s = self.settings
        both = batch["has_words"] & batch["has_vision"]
        weight = row_weights(both)
        title, vision = rows["title"], rows["vision"]
        titles, visions = gather_rows(title), gather_rows(vision)
        pairs = Pairs(batch["query"], batch["document_queries"], s.mask_shared_queries)
        shared = pairs.documents_of_queries()
        excluded = ~gather_rows(both)[None].expand(len(both), -1)
        excluded = excluded if shared is None else excluded | shared
        to_vision = self.contrast(title, visions, pairs.own, excluded=excluded, weight=weight)
        to_title = self.contrast(vision, titles, pairs.own, excluded=excluded, weight=weight)
        terms = {"vtc": (to_vision + to_title) / 2}
        if self.matching is not None:
            allowed = ~excluded.scatter(1, pairs.own[:, None], True)
            terms["vtm"] = s.matching_weight * self._match(rows, batch, title @ visions.T, vision @ titles.T, allowed)
        if self.words is not None:
            asked = sum_over_ranks(rows["asked"].sum()).clamp(min=1)
            terms["mlm"] = s.masking_weight * rows["masked"].sum() * world_size() / asked
        for level, share in enumerate(self.level_weights[: len(self.entities)], start=1):
            terms[f"entities_{level}"] = share * self.soft_targets(rows[f"entities_{level}"], rows[f"scores_{level}"], weight=weight)
        return terms

    def _match(self, rows: dict[str, Tensor], batch: Batch, to_visions: Tensor, to_titles: Tensor, allowed: Tensor) -> Tensor:
        """Three pairs a document: its own, its words with a wrong document's frames, its frames with a wrong document's words."""
        assert self.cross is not None and self.matching is not None
        cross, matching = self.cross, self.matching
        both, draws, temperature = batch["has_words"] & batch["has_vision"], batch["draws"], self.settings.temperature
        frames_of, found = wrong_partners(to_visions, allowed, draws[:, 0], temperature)
        words_of, _ = wrong_partners(to_titles, allowed, draws[:, 1], temperature)
        # Ranks pad their batches to different lengths.
        missing = self.settings.title_length - batch["title_mask"].shape[1]
        words, mask = pad(rows["words"], (0, 0, 0, missing)), pad(batch["title_mask"], (0, missing))
        wrong_words = Exchange(words_of, len(both))
        words, mask = torch.cat([words, wrong_words(words)]), torch.cat([mask, wrong_words(mask)])
        places = torch.cat([Exchange(frames_of, len(both))(rows["places"]), rows["places"]])
        longest = int(mask.any(dim=0).sum())
        counted = torch.cat([both, both & found, both & found])
        wrong = on_rows(counted[len(both) :], lambda own: matching(cross(words[own, : 1 + longest], mask[own, :longest], places[own])[:, 0]))
        matched = torch.zeros_like(counted)
        matched[: len(both)] = True
        return self.matching_loss(torch.cat([rows["right"], wrong[:, 0]]), matched, weight=row_weights(counted))

    def embed(self, batch: Batch, domain: str) -> Tensor:
        """[B, D] of length 1: half words and half frames of goods and clips, the words' vector of queries."""
        if domain == "query":
            return normalize(self.document.text(batch["title_ids"], batch["title_mask"]), dim=-1)
        return self.document(*self._of(batch)).fusion

    @property
    def feature_dim(self) -> int:
        """Width of `features`."""
        return self.document.feature_dim

    def features(self, batch: Batch) -> Tensor:
        """The towers' pooled features before any projection: [B, C]."""
        return self.document.features(*self._of(batch))

    def _of(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        return batch["frames"], batch["has_vision"], batch["title_ids"], batch["title_mask"], batch["has_words"]

    def parts(self) -> dict[str, nn.Module]:
        document = self.document
        found = {"text": document.text, "vision": document.vision, "frame_integration": document.frame_integration, "fusion": document.fusion}
        options = {"cross": self.cross, "matching": self.matching, "words": self.words, "entities": self.entities if self.prompter else None}
        return found | {name: part for name, part in options.items() if part is not None}

    def preparation(self, training: bool) -> PretrainPreparation:
        size = self.settings.image_size or self.document.vision.image_size
        return PretrainPreparation(self.settings, size, self.tokenizer, self._stream)

    def describe(self) -> dict[str, Any]:
        towers = {"text": self.document.text.describe(), "vision": self.document.vision.describe()}
        return towers | {"prompter": self.prompter.describe() if self.prompter else None}

    def save_files(self, folder: Path) -> None:
        transformers.AutoTokenizer.from_pretrained(self.tokenizer, local_files_only=True, trust_remote_code=False).save_pretrained(
            folder / "tokenizer"
        )

    def exports(self) -> Exports:
        return document_exports(self.document, self.tokenizer, {"query": self.settings.query_length, "document": self.settings.title_length})

    def compile_towers(self, backend: str) -> None:
        for encoder in (self.document.text, self.document.vision, *([self.prompter.vision] if self.prompter else [])):
            encoder.tower.compile(backend=backend)
