"""A linear probe: two linear maps on frozen features, one for clips and one for goods, trained to bring pairs together.

It tells what pretrained towers are worth before any of the system is trained; a system that stays under it has learnt nothing.
Legend: B pairs, C features of the towers, D dimensions of the probe.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from launch.seeds import generator
from losses.contrastive import InfoNCE
from pipeline.shards import ShardSet


@dataclass(frozen=True)
class Probe:
    """How the probe is fitted; the defaults take seconds for a few thousand items."""

    dim: int = 256
    steps: int = 800
    pairs: int = 256
    lr: float = 2e-3
    temperature: float = 0.05
    seed: int = 0


def fit_probe(features: dict[str, np.ndarray], pairs: list[tuple[int, int]], settings: Probe = Probe()) -> dict[str, nn.Linear]:
    """The fitted maps by domain ("video", "goods"), each [C] -> [D]; embeddings are their normalised outputs.

    Args:
        features: float32 [n, C] of the training items by domain.
        pairs: (row of a clip, row of a good that it shows).

    Raises:
        ValueError: there is no pair to learn from.
    """
    if not pairs:
        raise ValueError("the linear probe has no pair of a clip and a good that share a query in the train split")
    rng = generator(settings.seed, "probe")
    torch.manual_seed(settings.seed)
    rows = {domain: torch.from_numpy(values) for domain, values in features.items()}
    maps = {domain: nn.Linear(values.shape[1], settings.dim, bias=False) for domain, values in features.items()}
    optimiser = torch.optim.AdamW([p for one in maps.values() for p in one.parameters()], lr=settings.lr, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, settings.steps)
    contrast = InfoNCE(settings.temperature)
    table = torch.tensor(pairs)
    related = torch.zeros(len(rows["video"]), len(rows["goods"]), dtype=torch.bool)
    related[table[:, 0], table[:, 1]] = True
    for _ in range(settings.steps):
        chosen = table[torch.from_numpy(rng.integers(len(table), size=min(settings.pairs, len(table))))]
        clips, goods = maps["video"](rows["video"][chosen[:, 0]]), maps["goods"](rows["goods"][chosen[:, 1]])
        own = torch.arange(len(chosen))
        shared = related[chosen[:, 0]][:, chosen[:, 1]]
        loss = (contrast(clips, goods, own, excluded=shared) + contrast(goods, clips, own, excluded=shared.T)) / 2
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return maps


@torch.no_grad()
def project(mapping: nn.Linear, features: np.ndarray) -> np.ndarray:
    """float32 [n, D] of length 1 for features [n, C]."""
    out: Tensor = normalize(mapping(torch.from_numpy(features)), dim=1)
    return out.numpy()


def pairs_of(shards: ShardSet) -> list[tuple[int, int]]:
    """(row of a clip, row of a good) for the goods of each clip's most specific query: the one that the fewest goods share."""
    goods_of_query: dict[int, list[int]] = defaultdict(list)
    queries = {
        domain: [shards.shard(n).query_ids(row) for n in shards.of_domain(domain) for row in range(shards.shards[n].samples)]
        for domain in ("video", "goods")
    }
    for row, own in enumerate(queries["goods"]):
        for query in own.tolist():
            goods_of_query[query].append(row)
    pairs = []
    for row, own in enumerate(queries["video"]):
        shared = [goods_of_query[query] for query in own.tolist() if query in goods_of_query]
        fewest = min(map(len, shared), default=0)
        pairs += sorted({(row, good) for goods in shared if len(goods) == fewest for good in goods})
    return pairs
