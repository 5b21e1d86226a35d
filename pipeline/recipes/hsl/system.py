"""The method: a query's words are compared with each region of a product's photo and with the photo as a whole, at a top and a low level each.

    score(q, p) =      objects(q.object_top, p.object_top) + 1/2 objects(q.object_low, p.object_low)
                 +     q.image_top . p.image_top           + 1/2 q.image_low . p.image_low
    objects(t, r) = mean_k t . r_k   (or the sum, the largest, the mean of the few largest)
    loss = the same weights on four cross-entropies of a query's score with its product against its scores with the batch's others

With the mean (or sum) this is one product of concatenated vectors, which is what `embed` gives: t times the mean of the r_k is the mean of their
products. With the largest it is not; `embed` then holds the mean, by which a search proposes, and `score` decides.

Source: the released program of HSL; where ours differs by default, the setting says so and how to get it as released.

Legend: B pairs of this rank, N of all ranks, K regions, E dimensions of a vector, Q queries, P products.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from launch.distributed import gather_rows
from losses.score_contrast import ScoreContrast
from models.region_levels import RegionLevels
from models.region_scores import ONE_VECTOR, pooled, region_scores
from models.word_levels import WordLevels
from pipeline.pairs import Pairs, row_weights
from pipeline.recipes.hsl.preparation import RegionPreparation
from pipeline.recipes.hsl.settings import HSLSettings
from pipeline.shards import ShardSet
from pipeline.system import Batch, System
from pipeline.words import Vocabulary

VECTORS = ("object_top", "object_low", "image_top", "image_low")


class HSL(System):
    """The system as one module; see the top of the file.

    Args:
        vocabulary: of queries.
        region_width: features of a region.
        word_dim: width of word vectors.

    Raises:
        ValueError: a setting is out of range.
    """

    normalised = False

    def __init__(self, settings: HSLSettings, vocabulary: Vocabulary, region_width: int, word_dim: int) -> None:
        super().__init__()
        s = settings
        for name in ("top_regions", "regions", "query_length"):
            if getattr(s, name) < 1:
                raise ValueError(f"--system.{name} {getattr(s, name)}: at least 1")
        self.settings, self.vocabulary, self._region_width, self._word_dim = s, vocabulary, region_width, word_dim
        self.embedding_dim, self.scores_pairs = len(VECTORS) * s.dim, s.aggregation not in ONE_VECTOR
        self.image = RegionLevels(
            region_width,
            width=s.width,
            dim=s.dim,
            layers=s.image_layers,
            heads=s.heads,
            feedforward=s.feedforward,
            transformer_dropout=s.transformer_dropout,
            object_dropout=s.object_dropout,
        )
        self.text = WordLevels(
            len(vocabulary),
            vector_dim=word_dim,
            width=s.width,
            dim=s.dim,
            layers=s.text_layers,
            heads=s.heads,
            feedforward=s.feedforward,
            dropout=s.transformer_dropout,
            normalise=s.normalise_text,
        )
        self.contrast = ScoreContrast(s.temperature)
        self._weights = {name: s.low_weight if name.endswith("low") else 1.0 for name in VECTORS}

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        """What `compared` gives of products, with goods_ before its names, and of queries, with query_."""
        sides = {domain: self.compared(batch, domain) for domain in ("goods", "query")}
        return {f"{domain}_{name}": value for domain, rows in sides.items() for name, value in rows.items()}

    def losses(self, rows: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """The named terms, each a mean over the pairs of all ranks (DDP averages what every rank returns)."""
        read = batch["read"]
        pairs = Pairs(batch["query"], batch["document_queries"], self.settings.mask_shared_queries)
        shared, excluded = pairs.documents_of_queries(), ~gather_rows(read)[None].expand(pairs.size, -1)
        excluded = excluded if shared is None else excluded | shared
        goods = {name: gather_rows(value) for name, value in _of("goods", rows).items()}
        scores = self._scores(_of("query", rows), goods)
        weight = row_weights(read)
        return {name: self._weights[name] * self.contrast(scores[name], pairs.own, excluded=excluded, weight=weight) for name in VECTORS}

    def compared(self, batch: Batch, domain: str) -> dict[str, Tensor]:
        """Of queries the four vectors by name, [B, E]. Of goods the same, where those of objects are [B, E] if the score needs no more than
        one vector of them, else [B, K, E] with `mask` bool [B, K]."""
        if domain == "query":
            return self.text(batch["words"], batch["word_mask"])._asdict()
        if domain != "goods":
            raise ValueError(f"hsl embeds goods and queries; it has no vector for items of domain {domain}")
        mask = batch["region_mask"]
        found = self.image(batch["regions"], mask)._asdict()
        if self.scores_pairs:
            return found | {"mask": mask}
        return found | {name: pooled(found[name], mask, self.settings.aggregation) for name in VECTORS if name.startswith("object")}

    def score(self, queries: dict[str, Tensor], documents: dict[str, Tensor]) -> Tensor:
        found = self._scores(queries, documents)
        return torch.stack([self._weights[name] * found[name] for name in VECTORS]).sum(dim=0)

    def _scores(self, queries: dict[str, Tensor], goods: dict[str, Tensor]) -> dict[str, Tensor]:
        """The four parts of the score, float32 [Q, P] each, not weighted."""
        own = self.settings
        with torch.autocast(self.device().type, enabled=False):  # scores of bfloat16 are too coarse to be compared
            return {
                name: queries[name] @ goods[name].T
                if goods[name].ndim == 2
                else region_scores(queries[name], goods[name], goods["mask"], own.aggregation, own.top_regions)
                for name in VECTORS
            }

    def embed(self, batch: Batch, domain: str) -> Tensor:
        """[B, 4 E]: of goods the four vectors, objects pooled, the low ones weighted; of queries the four vectors."""
        found = self.compared(batch, domain)
        if domain == "query":
            return torch.cat([found[name] for name in VECTORS], dim=1)
        one = {name: found[name] if found[name].ndim == 2 else pooled(found[name], found["mask"], "mean") for name in VECTORS}
        return torch.cat([self._weights[name] * one[name] for name in VECTORS], dim=1)

    def parts(self) -> dict[str, nn.Module]:
        return {"image": self.image, "text": self.text}

    def preparation(self, training: bool) -> RegionPreparation:
        return RegionPreparation(self.vocabulary, self._region_width, self.settings.regions, self.settings.query_length)

    def require(self, shards: ShardSet) -> None:
        shards.require_domains("goods")

    def describe(self) -> dict[str, Any]:
        return {"region_width": self._region_width, "word_dim": self._word_dim}

    def save_files(self, folder: Path) -> None:
        self.vocabulary.save(folder)


def _of(domain: str, rows: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(f"{domain}_"): value for name, value in rows.items() if name.startswith(f"{domain}_")}
