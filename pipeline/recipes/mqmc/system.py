"""The method: clips and goods are contrasted with each other, and with queues of momentum keys that are kept apart by category.

Every instance is two frozen features, of its frames or image and of its words. They are encoded, fused by context gating, and mapped to the
common space by a query encoder; a momentum copy of that encoder makes the keys. Negatives are the keys of past batches: one queue a middle
category and side, and a negative counts by how near its category is to the anchor's.

    loss = .8 [ contrast(clip, good's key, goods' queues) + contrast(good, clip's key, clips' queues) ]
         + .1 [ F(clip's vision, good's vision) + F(clip's words, good's words) ]
         + .1 [ F(clip's vision, clip's words) + F(good's vision, good's words) ]

Source: the released program of MQMC; where ours differs by default, the setting says so and how to get it as released.

Legend: B pairs of this rank, N of all ranks, C categories, K rows of a queue, D dimensions.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, pad

from launch.distributed import gather_rows, rank
from losses.category_weights import CategoryWeights
from losses.contrastive import InfoNCE
from losses.feature_contrast import ReleasedFeatureContrast
from losses.weighted_queue_contrast import Negatives, SameItem, WeightedQueueContrast
from models.batch_norm import synchronise_batch_norm
from models.instance_encoder import InstanceEncoder
from models.momentum.category_queues import CategoryQueues
from models.momentum.momentum_copy import MomentumCopy
from models.within_item_noise import WithinItemNoise
from pipeline.pairs import PairContrast, Pairs, row_weights
from pipeline.recipes.mqmc.categories import MVS_LEFT_OUT, MVS_UPPER, Categories
from pipeline.recipes.mqmc.preparation import PairPreparation
from pipeline.recipes.mqmc.settings import MQMCSettings
from pipeline.recipes.mqmc.sizes import MODALITIES, SIDES, Sizes, side_of
from pipeline.system import Batch, System


class MQMC(System):
    """The system as one module; see the top of the file.

    Embeddings are the query encoders' outputs, not normalised unless the settings say so, as published.

    Args:
        sizes: widths of the features.
        categories: the middle categories and the upper ones over them.

    Raises:
        ValueError: the released label map for an ontology that is not that of MVS.
    """

    rowwise = False

    def __init__(self, settings: MQMCSettings, sizes: Sizes, categories: Categories) -> None:
        super().__init__()
        s = settings
        if s.label_map == "released" and len(categories.upper) != len(MVS_UPPER):
            raise ValueError(
                f"--system.label_map released: it is the map of MVS with its {len(MVS_UPPER)} middle categories, this corpus has "
                f"{len(categories.upper)}; use --system.label_map data"
            )
        self.settings, self._sizes, self._categories = s, sizes, categories
        self.embedding_dim, self.normalised = s.dim, s.normalise
        for side in SIDES:
            own = getattr(sizes, side)
            encoder = InstanceEncoder(own.vision, own.words, hidden=s.hidden, width=s.width, dim=s.dim, dropout=s.dropout)
            self.add_module(side, encoder)
        if s.batch_norm == "synchronised":
            synchronise_batch_norm(self)
        self.noise = WithinItemNoise(s.noise_within, s.noise_isotropic)
        self.keys = nn.ModuleDict({side: MomentumCopy(self._encoder(side).query, s.momentum, batch_statistics=True) for side in SIDES})
        self.queues = CategoryQueues(tuple(SIDES), len(categories.upper), s.queue_size, s.dim, random=s.empty_slots == "random")
        self.weights = CategoryWeights(categories.upper, s.weighting, MVS_LEFT_OUT if s.label_map == "released" else ())
        self.contrast = WeightedQueueContrast(s.temperature, tile=s.contrast_tile)
        self.softmax_contrast = PairContrast(InfoNCE(s.feature_temperature, normalise=False))
        self.released_contrast = ReleasedFeatureContrast()
        self._fresh: list[tuple[dict[str, Tensor], Tensor, Tensor]] = []

    def _encoder(self, side: str) -> InstanceEncoder:
        return getattr(self, side)

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        """For each side the modalities' vectors, `{side}_query` with a gradient and `{side}_key` without, [B, D] of length 1.

        Zeros for pairs that could not be read, which leave no trace in batch norm (but where fewer than two of this rank's could be: one row is no
        batch).
        """
        read = _read(batch)
        if bool(read.all()) or int(read.sum()) < 2:
            return self._encode(batch)
        found = self._encode({name: value[read] for name, value in batch.items()})
        return {name: rows.new_zeros(len(read), rows.shape[1]).masked_scatter(read[:, None], rows) for name, rows in found.items()}

    def _encode(self, batch: Batch) -> dict[str, Tensor]:
        rows: dict[str, Tensor] = {}
        # A product has one photo, which does not differ from itself: noise is for clips.
        batch = batch | {"video_vision": self.noise(batch["video_vision"], batch["query"], batch["video_has_vision"])}
        for side in SIDES:
            encoder = self._encoder(side)
            vision, words, fusion = encoder.modalities(*(batch[f"{side}_{name}"] for name in ("vision", "has_vision", "words", "has_words")))
            rows |= {f"{side}_vision": vision, f"{side}_words": words}
            rows[f"{side}_query"] = normalize(encoder.query(fusion).float(), dim=-1)
            rows[f"{side}_key"] = normalize(self.keys[side](fusion.detach()).float(), dim=-1)
        return rows

    def losses(self, rows: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """The named terms, each a mean over the pairs of all ranks (DDP averages what every rank returns)."""
        s = self.settings
        read = _read(batch)
        pairs, weight = Pairs(batch["query"], batch["query"][:, None], s.mask_shared_queries, read), row_weights(read)
        terms = {}
        for side, other in (("video", "goods"), ("goods", "video")):
            loss = self.contrast(rows[f"{side}_query"], rows[f"{other}_key"], self.negatives(other, batch), weight=weight)
            terms[f"{side}2{other}"] = s.contrast_weight * loss
        if s.feature_contrast == "softmax":  # of length 1, each once for the two contrasts that it is in
            rows = rows | {
                name: normalize(rows[name].float(), dim=-1) for name in (f"{side}_{modality}" for side in SIDES for modality in MODALITIES)
            }
        across = (self._features(rows, batch, pairs, ("video", modality), ("goods", modality)) for modality in MODALITIES)
        terms["cross"] = s.cross_weight * sum(across, torch.zeros((), device=self.device()))
        within = (self._features(rows, batch, pairs, (side, "vision"), (side, "words")) for side in SIDES)
        terms["intra"] = s.intra_weight * sum(within, torch.zeros((), device=self.device()))
        everyone = gather_rows(read)
        keys = {side: gather_rows(rows[f"{side}_key"])[everyone] for side in SIDES}
        self._fresh.append((keys, gather_rows(batch["middle"])[everyone], gather_rows(batch["query"])[everyone]))
        return terms

    @torch.no_grad()
    def negatives(self, side: str, batch: Batch) -> Negatives:
        """The queues of a side as negatives of a batch's pairs, with their weights [B, C]."""
        queues, middle = self.queues, batch["middle"]
        same = SameItem(middle, batch["query"], queues.items) if self.settings.mask_shared_queries else None
        weights = self.weights(queues.centroids(side), queues.filled)
        return Negatives(queues.get_buffer(side), queues.filled, weights[middle], same)

    def _features(self, rows: dict[str, Tensor], batch: Batch, pairs: Pairs, first: tuple[str, str], second: tuple[str, str]) -> Tensor:
        """F of two modalities, (side, modality) each, over the pairs that have both; in both directions, added up."""
        one, other = (rows["_".join(name)] for name in (first, second))
        present = batch["_has_".join(first)] & batch["_has_".join(second)]
        if self.settings.feature_contrast == "softmax":
            return 2 * self.softmax_contrast(one, other, pairs, present)
        own = torch.arange(len(one), device=one.device) + len(one) * rank()
        return self.released_contrast(one, gather_rows(other), own, present=gather_rows(present), weight=row_weights(present))

    def embed(self, batch: Batch, domain: str) -> Tensor:
        """[B, D] of clips and of goods, of length 1 where `settings.normalise`."""
        found = self._encoder(side_of(domain))(batch["vision"], batch["has_vision"], batch["words"], batch["has_words"]).float()
        return normalize(found, dim=-1) if self.normalised else found

    @property
    def feature_dim(self) -> int:
        """Width of `features`."""
        return sum(self._feature_widths())

    def features(self, batch: Batch) -> Tensor:
        """The frozen features themselves, vision then words, each of length 1 and filled up with zeros to the wider side's width: [B, C]."""
        parts = zip((batch["vision"], batch["words"]), self._feature_widths())
        return torch.cat([pad(normalize(part, dim=-1), (0, width - part.shape[1])) for part, width in parts], dim=1)

    def _feature_widths(self) -> list[int]:
        return [max(getattr(getattr(self._sizes, side), modality) for side in SIDES) for modality in MODALITIES]

    def parts(self) -> dict[str, nn.Module]:
        return {side: self._encoder(side) for side in SIDES}

    def preparation(self, training: bool) -> PairPreparation:
        return PairPreparation(self._sizes, self._categories, self.settings.scale_features)

    def describe(self) -> dict[str, Any]:
        return {"sizes": self._sizes.to_dict(), "categories": self._categories.to_dict()}

    def weights_replaced(self) -> None:
        for side in SIDES:
            self._copy(side).restart(self._encoder(side).query)

    def after_step(self) -> None:
        """Let the key encoders follow, and put the step's keys into the queues."""
        for side in SIDES:
            self._copy(side).update(self._encoder(side).query)
        for keys, middle, query in self._fresh:
            self.queues.enqueue(keys, middle, query)
        self._fresh = []

    def _copy(self, side: str) -> MomentumCopy:
        found = self.keys[side]
        assert isinstance(found, MomentumCopy)
        return found


def _read(batch: Batch) -> Tensor:
    """[B] bool: a pair of which a side lacks all modalities could not be read, and counts for nothing."""
    sides = [batch[f"{side}_has_vision"] | batch[f"{side}_has_words"] for side in SIDES]
    return sides[0] & sides[1]
