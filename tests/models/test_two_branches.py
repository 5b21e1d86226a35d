"""Encoders of regions and words, concepts over their graph, and what asks them, each against the slow obvious way."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import leaky_relu, normalize
from transformers import BertConfig, BertModel

from models.concept_graph import ConceptGraph, concept_graph
from models.concept_query import ConceptQuery
from models.cosine_head import CosineHead
from models.encoders import TextEncoder
from models.fusion.guided_pooling import GuidedPooling
from models.region_encoder import RegionEncoder
from models.two_branches import ConceptBranch, TwoBranches
from models.word_encoder import TokenEncoder, WordEncoder
from tests.models.folders import WORDS


def test_the_graph_keeps_what_is_often_spoken_of_together() -> None:
    captions = torch.tensor([10, 5, 2])
    together = torch.tensor([[0, 4, 1], [4, 0, 0], [1, 0, 0]])

    graph = concept_graph(captions, together)

    # P: 0->1 .4, 0->2 .1, 1->0 .8, 2->0 .5; s = 5^(P-.02) - 5^-.02 is at least .3 from P = .17 on: all but 0->2.
    assert 5 ** (0.1 - 0.02) - 5**-0.02 < 0.3 < 5 ** (0.4 - 0.02) - 5**-0.02
    weighted = torch.tensor([[1, 0.25, 0], [0.125, 1, 0], [0.125, 0, 1]])  # column 0 has two edges, column 1 has one
    sums = [1.25, 1.125, 1.125]
    wanted = [[weighted[i, j] / math.sqrt(sums[i] * sums[j]) for j in range(3)] for i in range(3)]
    torch.testing.assert_close(graph, torch.tensor(wanted))


def test_two_convolutions_mix_a_concept_with_its_neighbours() -> None:
    torch.manual_seed(0)
    words, graph = torch.randn(4, 6), torch.rand(4, 4)
    module = ConceptGraph(words, graph, hidden=5, width=3)

    slow = graph @ leaky_relu(graph @ words @ module.inner.weight.T, 0.2) @ module.outer.weight.T

    torch.testing.assert_close(module(), slow / slow.norm(dim=1, keepdim=True))


def test_an_item_is_the_mean_of_the_concepts_that_answer_it() -> None:
    torch.manual_seed(0)
    query = ConceptQuery(6, label_share=0.35)
    items, concepts = torch.randn(2, 6), normalize(torch.randn(3, 6), dim=-1)
    labels = torch.tensor([[True, False, True], [False, False, False]])

    found, unlabelled = query(items, concepts, labels), query(items, concepts)

    for row in range(2):
        scores = torch.stack([(query.each(concept) * query.item(items[row])) @ query.score.weight[0] for concept in concepts])
        weights = (10 * scores).softmax(dim=0)
        torch.testing.assert_close(unlabelled[row], normalize(weights @ concepts, dim=-1))
        if row == 0:
            weights = 0.65 * weights + 0.35 * torch.tensor([10.0, 0, 10]).softmax(dim=0)
        torch.testing.assert_close(found[row], normalize(weights @ concepts, dim=-1))
    with pytest.raises(ValueError, match="label share 2"):
        ConceptQuery(6, label_share=2)


def test_pooling_compares_each_vector_with_the_mean_of_those_that_are_there() -> None:
    torch.manual_seed(0)
    pooling, vectors = GuidedPooling(4), torch.randn(2, 3, 4)
    present = torch.tensor([[True, True, False], [False, False, False]])

    found = pooling(vectors, present)

    mean = vectors[0, :2].mean(dim=0)
    weights = torch.stack([(pooling.each(one) * pooling.mean(mean)) @ pooling.score.weight[0] for one in vectors[0, :2]]).softmax(dim=0)
    torch.testing.assert_close(found[0], weights @ vectors[0, :2])
    assert not found[1].any()


@pytest.mark.parametrize("kind", ["words", "tokens"])
def test_a_vector_does_not_depend_on_what_else_is_in_its_batch(kind: str) -> None:
    torch.manual_seed(0)
    if kind == "words":
        text: WordEncoder | TokenEncoder = WordEncoder(20, 5, 8)
    else:
        text = TokenEncoder(TextEncoder(BertModel(BertConfig(**WORDS)), dim=8, pooling="mean"))
    concepts = ConceptBranch(ConceptGraph(torch.randn(3, 5), torch.eye(3), 4, 8), 8, label_share=0.35)
    branches = TwoBranches(RegionEncoder(6, 8), text, concepts).eval()
    words, labels = torch.randint(5, 20, (2, 4)), torch.tensor([[True, False, False], [False, True, True]])
    words[1, 2:] = 0
    regions, has = torch.randn(2, 3, 6), torch.tensor([[True, True, True], [True, False, False]])

    captions, images = branches("text", words, words > 0, labels), branches("image", regions, has)
    caption, image = branches("text", words[1:, :2], words[1:, :2] > 0, labels[1:]), branches("image", regions[1:, :1], has[1:, :1])

    for many, one in zip((*captions, *images), (*caption, *image), strict=True):
        torch.testing.assert_close(many[1:], one)
        assert many.norm(dim=1).tolist() == pytest.approx([1, 1])
    assert (captions.instance[0] - captions.instance[1]).abs().max() > 0.01 and (captions.concept - captions.instance).abs().max() > 0.01
    scaled = branches("image", 3 * regions, has)
    torch.testing.assert_close(scaled.instance, images.instance)


def test_every_weight_of_both_text_encoders_gets_a_gradient() -> None:
    for text in (WordEncoder(20, 5, 8), TokenEncoder(TextEncoder(BertModel(BertConfig(**WORDS)), dim=8, pooling="mean"))):
        text(torch.randint(5, 20, (3, 4)), torch.ones(3, 4, dtype=torch.bool))[:, 0].sum().backward()
        lacking = [name for name, parameter in text.named_parameters() if parameter.requires_grad and parameter.grad is None]
        assert lacking == []


def test_the_cosine_head_tells_a_class_by_direction_alone() -> None:
    head = CosineHead(2, 2, temperature=0.5)
    with torch.no_grad():
        head.directions.copy_(torch.tensor([[3.0, 0.0], [0.0, 0.1]]))

    assert head(torch.tensor([[7.0, 0.0], [1.0, 1.0]])).tolist() == [pytest.approx([2, 0]), pytest.approx([2**0.5, 2**0.5])]
