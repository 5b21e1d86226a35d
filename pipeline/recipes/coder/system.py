"""The method: images and captions are contrasted as instances and as mixtures of concepts, each with queues of past pairs whose many alike negatives
count less; clusters of instances are what concepts have to predict besides.

    similarity = alpha v . t + (1 - alpha) v' . t'          v, t instance vectors of image and caption, v', t' their concept vectors

which is one dot product of [sqrt(alpha) v, sqrt(1 - alpha) v'] and the like, of length 1: that is what is embedded.

    loss =                    contrast(v, t and captions' queue) + contrast(t, v and images' queue)                       halved
         + concept_weight   ( contrast(v', t' and their queue) + contrast(t', v' and their queue) )                       halved
         + cluster_weight   ( cross-entropy(q, head(v')) + cross-entropy(q, head(t')) )                                   halved

Queues hold vectors that a slow copy of both branches made of past pairs. With queues t and t' on the other side of a contrast are the slow copy's,
too, as in MoCo: were a query's own match the live net's and most negatives the slow one's, which net made a vector would tell them apart, and that is
what would be learned (with batches of 16, measured, worse than no queues). q are balanced soft clusters of a pair's instance vectors (of the slow
copy, their mean), over the batch and the queue.

Source: CODER (ECCV 2022) has these parts: queues of both sides, negatives weighted for diversity, two branches, pseudo labels by online clustering of
instances that concepts predict. Their formulas could not be read: encoders and concepts are CVSE's, the rest is ours; each module says what it is.

Legend: B pairs of this rank, N of all ranks, M rows of a queue, W width of a vector.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from torch.nn.functional import normalize

from launch.distributed import gather_rows
from losses.diversity_weights import DiversityWeights
from losses.soft_targets import SoftTargets
from losses.weighted_negatives_contrast import WeightedNegativesContrast
from models.cosine_head import CosineHead
from models.momentum.feature_queue import FeatureQueue
from models.momentum.momentum_copy import MomentumCopy
from models.momentum.online_clusters import OnlineClusters
from models.two_branches import Side, TwoBranches
from models.word_encoder import TokenEncoder
from pipeline.concepts.counts import Concepts
from pipeline.pairs import Pairs, row_weights
from pipeline.recipes.coder.preparation import CaptionPreparation
from pipeline.recipes.coder.settings import CODERSettings
from pipeline.shards import ShardSet
from pipeline.system import Batch, System
from pipeline.words import Vocabulary

SIDES: tuple[Side, ...] = ("image", "text")
INPUTS = {"image": ("regions", "has_regions"), "text": ("words", "has_words")}


class CODER(System):
    """The system as one module; see the top of the file.

    Args:
        branches: encoders of both sides, and the concept branch where the settings have it.
        region_dim: features of a region.
        words: the vocabulary, or the tokenizer's folder.
        concepts: those of the concept branch.
    """

    def __init__(self, settings: CODERSettings, branches: TwoBranches, region_dim: int, words: Vocabulary | Path, concepts: Concepts | None) -> None:
        super().__init__()
        s = settings
        if not 0 <= s.alpha <= 1:
            raise ValueError(f"--system.alpha {s.alpha}: the instance branch's share in the similarity, 0 to 1")
        self.settings, self._region_dim, self._words, self._concepts = s, region_dim, words, concepts
        self.branches = branches
        self.names = ("instance", "concept") if s.concepts else ("instance",)
        self.embedding_dim = s.width * len(self.names)
        self.clusters = OnlineClusters(s.clusters, s.width, s.cluster_temperature, s.cluster_momentum) if s.concepts and s.cluster_weight else None
        self.tell_cluster = CosineHead(s.width, s.clusters) if self.clusters is not None else None
        self.keys = MomentumCopy(branches, s.momentum) if s.queue_size or self.clusters is not None else None
        queues = {f"{side}_{name}": FeatureQueue(s.queue_size, s.width, keys=1) for side in SIDES for name in self.names} if s.queue_size else {}
        self.queues = nn.ModuleDict(queues)
        self.diversity = DiversityWeights(s.diversity, s.diversity_bandwidth) if s.diversity else None
        self.contrast, self.soft_targets = WeightedNegativesContrast(s.temperature), SoftTargets()
        self._fresh: list[tuple[dict[str, Tensor], Tensor]] = []

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        """`{side}_{branch}` with a gradient and, where anything needs them, `{side}_{branch}_key` without, [B, W] of length 1."""
        rows: dict[str, Tensor] = {}
        for side in SIDES:
            rows |= self._vectors(self.branches, side, batch)
            if self.keys is not None:
                rows |= {f"{name}_key": value for name, value in self._vectors(self.keys, side, batch).items()}
        return rows

    def _vectors(self, branches: nn.Module, side: Side, batch: Batch) -> dict[str, Tensor]:
        values, present = (batch[name] for name in INPUTS[side])
        found = branches(side, values, present, batch.get("concepts") if side == "text" else None)
        return {f"{side}_{name}": getattr(found, name) for name in self.names}

    def losses(self, rows: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """The named terms, each a mean over the pairs of all ranks that could be read (DDP averages what every rank returns)."""
        s = self.settings
        read = _read(batch)
        pairs, weight = Pairs(batch["image"], batch["image"][:, None], s.mask_shared_queries, read), row_weights(read)
        terms: dict[str, Tensor] = {}
        for name in self.names:
            both = (self._contrast(rows, batch, pairs, weight, name, *sides) for sides in (SIDES, SIDES[::-1]))
            terms[name] = (1.0 if name == "instance" else s.concept_weight) * sum(both, torch.zeros((), device=self.device())) / 2
        if self.clusters is not None and self.tell_cluster is not None:
            pseudo = torch.zeros(len(read), s.clusters, device=self.device())
            pseudo[read] = self.clusters(_pair(rows["image_instance_key"], rows["text_instance_key"])[read], self._queued_pairs())
            told = (self.soft_targets(self.tell_cluster(rows[f"{side}_concept"]), pseudo, weight=weight) for side in SIDES)
            terms["clusters"] = s.cluster_weight * sum(told, torch.zeros((), device=self.device())) / 2
        if self.queues:
            everyone = gather_rows(read)
            keys = {name: gather_rows(rows[f"{name}_key"])[everyone] for name in self.queues}
            self._fresh.append((keys, gather_rows(batch["image"])[everyone]))
        return terms

    def _contrast(self, rows: dict[str, Tensor], batch: Batch, pairs: Pairs, weight: Tensor, branch: str, asking: Side, answering: Side) -> Tensor:
        """Of one branch in one direction: against all ranks' rows of this batch, with a gradient; with queues, against their keys and the queue."""
        candidates, present = gather_rows(rows[f"{answering}_{branch}{'_key' if self.queues else ''}"]), gather_rows(_read(batch))
        excluded = ~present.expand(pairs.size, -1)
        if (shared := pairs.documents_of_queries()) is not None:
            excluded = excluded | shared
        if self.queues:
            queue = self._queue(answering, branch)
            candidates, present = torch.cat([candidates, queue.features]), torch.cat([present, queue.valid])
            not_queued = (~queue.valid).expand(pairs.size, -1)
            if self.settings.mask_shared_queries:
                not_queued = not_queued | queue.shared(batch["image"])
            excluded = torch.cat([excluded, not_queued], dim=1)
        log_weights = self.diversity(candidates.detach(), present) if self.diversity is not None else None
        return self.contrast(rows[f"{asking}_{branch}"], candidates, pairs.own, excluded, log_weights, weight=weight)

    def _queue(self, side: Side, branch: str) -> FeatureQueue:
        found = self.queues[f"{side}_{branch}"]
        assert isinstance(found, FeatureQueue)
        return found

    def _queued_pairs(self) -> Tensor:
        """The instance vectors of the pairs in the queues, [filled, W]; none without queues."""
        if not self.queues:
            return torch.zeros(0, self.settings.width, device=self.device())
        image, text = (self._queue(side, "instance") for side in SIDES)
        return _pair(image.features, text.features)[image.valid]

    def embed(self, batch: Batch, domain: str) -> Tensor:
        """[B, D] of images and of captions, of length 1: the branches' vectors, each times the root of its share."""
        if domain not in SIDES:
            raise ValueError(f"coder embeds images and captions (domains image and text); it has no vector for items of domain {domain}")
        vectors = self._vectors(self.branches, "image" if domain == "image" else "text", batch).values()
        shares = (self.settings.alpha, 1 - self.settings.alpha) if self.settings.concepts else (1.0,)
        return torch.cat([math.sqrt(share) * vector.float() for share, vector in zip(shares, vectors, strict=True)], dim=1)

    def parts(self) -> dict[str, nn.Module]:
        options = {"concepts": self.branches.concepts, "clusters": self.tell_cluster}
        return {"image": self.branches.image, "text": self.branches.text} | {name: part for name, part in options.items() if part is not None}

    def preparation(self, training: bool) -> CaptionPreparation:
        return CaptionPreparation(self.settings, self._region_dim, self._words, self._concepts)

    def require(self, shards: ShardSet) -> None:
        shards.require_domains("image", "text")

    def describe(self) -> dict[str, Any]:
        found: dict[str, Any] = {"region_dim": self._region_dim}
        if isinstance(self._words, Vocabulary):
            found["word_dim"] = self.branches.text.words.embedding_dim  # type: ignore[union-attr]
        else:
            assert isinstance(self.branches.text, TokenEncoder)
            found["text"] = self.branches.text.text.describe()
        if self.branches.concepts is not None:
            found["concept_dim"] = self.branches.concepts.graph.words.shape[1]
        return found

    def save_files(self, folder: Path) -> None:
        if isinstance(self._words, Vocabulary):
            self._words.save(folder)
        else:
            transformers.AutoTokenizer.from_pretrained(self._words, local_files_only=True, trust_remote_code=False).save_pretrained(
                folder / "tokenizer"
            )
        if self._concepts is not None:
            self._concepts.save(folder)

    def weights_replaced(self) -> None:
        if self.keys is not None:
            self.keys.restart(self.branches)

    def after_step(self) -> None:
        """Let the slow copy follow, put the step's keys into the queues, and move the clusters."""
        if self.keys is not None:
            self.keys.update(self.branches)
        for keys, images in self._fresh:
            for name, rows in keys.items():
                queue = self.queues[name]
                assert isinstance(queue, FeatureQueue)
                queue.enqueue(rows, images[:, None])
        self._fresh = []
        if self.clusters is not None:
            self.clusters.follow()


def _pair(image: Tensor, text: Tensor) -> Tensor:
    """A vector of a pair: the mean of both, at length 1."""
    return normalize(image.float() + text.float(), dim=-1)


def _read(batch: Batch) -> Tensor:
    """[B] bool: a pair without regions or without words could not be read, and counts for nothing."""
    return batch["has_regions"].any(dim=1) & batch["has_words"].any(dim=1)
