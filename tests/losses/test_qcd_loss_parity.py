"""Our losses on the released program's embeddings give its numbers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from losses.contrastive import InfoNCE
from losses.cyclip import CyclicConsistency
from losses.feature_distance import FeatureDistance
from losses.reconstruction import Reconstruction
from models.query_decoder import QueryDecoder
from tests.qcd_reference import Reference


@pytest.fixture(scope="module")
def reference(test_data: Path) -> Reference:
    return Reference(test_data)


def both_directions(query: Tensor, documents: Tensor) -> Tensor:
    contrast, own = InfoNCE(temperature=1 / 20, normalise=False), torch.arange(len(query))
    return (contrast(query, documents, own) + contrast(documents, query, own)) / 2


@torch.no_grad()
def generation_loss(reference: Reference) -> Tensor:
    decoder = QueryDecoder(120, token_type_zero=True).eval()
    weights = reference.weights("text_generation_model", "")
    decoder.load_state_dict({**weights, "gpt2_model.lm_head.weight": weights["gpt2_model.transformer.wte.weight"]})
    total, count = Reconstruction()(decoder(reference["query_ids"], reference["vision_video"]), reference["query_ids"])
    return total.sum() / count.sum()


def test_each_loss_and_their_sum_are_the_releases(reference: Reference) -> None:
    query, fusion, vision = reference["query_emb"], reference["fusion_video"], reference["vision_video"]

    losses = {
        "fusion": both_directions(query, fusion),
        "title": both_directions(query, reference["text_video"]),
        "vision": both_directions(query, vision),
        "norm": FeatureDistance(10)(fusion, vision),
        "generation": generation_loss(reference),
    }

    for name, loss in losses.items():
        reference.assert_same(loss, f"loss_{name}")
    reference.assert_same(sum(losses.values(), torch.zeros(())), "loss_total")


def test_the_cyclic_terms_are_the_releases(reference: Reference) -> None:
    query, fusion = F.normalize(reference["query_emb"], dim=-1), reference["fusion_video"]

    loss = both_directions(query, fusion) + CyclicConsistency(0.25)(query, fusion)

    reference.assert_same(loss, "loss_cyclip")
