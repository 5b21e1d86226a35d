"""HSL's encoders and scores against slow twins: a set at a time, a region at a time, no padding."""

from __future__ import annotations

import pytest
import torch

from models.region_levels import RegionLevels, SetAttention
from models.region_scores import ONE_VECTOR, Aggregation, pooled, region_scores
from models.two_levels import masked_mean, masked_sum
from models.word_levels import WordLevels

MASK = torch.tensor([[True, True, True], [True, False, False], [True, True, False]])
SIZES = {"width": 8, "dim": 6, "layers": 1, "heads": 2, "feedforward": 10}


def regions(dim: int = 6) -> torch.Tensor:
    return torch.randn(3, 3, dim, generator=torch.Generator().manual_seed(1))


def image_encoder(object_dropout: float = 0.0) -> RegionLevels:
    torch.manual_seed(0)
    return RegionLevels(5, **SIZES, transformer_dropout=0.0, object_dropout=object_dropout).eval()


def slow_score(query: torch.Tensor, own: list[torch.Tensor], aggregation: Aggregation, best: int) -> float:
    products = sorted((float(query @ one) for one in own), reverse=True)
    return {
        "mean": sum(products) / len(products),
        "sum": sum(products),
        "max": products[0],
        "topk": sum(products[:best]) / len(products[:best]),
    }[aggregation]


@pytest.mark.parametrize("aggregation", ["mean", "max", "sum", "topk"])
@pytest.mark.parametrize("best", [1, 2, 5])
def test_scores_are_those_of_each_pair_by_itself(aggregation: Aggregation, best: int) -> None:
    queries, images = torch.randn(4, 6, generator=torch.Generator().manual_seed(2)), regions()

    found = region_scores(queries, images, MASK, aggregation, best)

    slow = [[slow_score(query, list(one[mask]), aggregation, best) for one, mask in zip(images, MASK)] for query in queries]
    torch.testing.assert_close(found, torch.tensor(slow))
    if aggregation in ONE_VECTOR:
        torch.testing.assert_close(queries @ pooled(images, MASK, aggregation).T, found)


def test_what_lies_past_a_sets_members_changes_nothing() -> None:
    images, hostile = regions(), regions()
    hostile[~MASK] = torch.nan

    assert torch.equal(masked_mean(images, MASK), masked_mean(hostile, MASK))
    assert torch.equal(masked_sum(images, MASK)[1], images[1, 0])
    assert masked_mean(images, torch.zeros(3, 3, dtype=torch.bool)).abs().max() == 0

    encoder, given = image_encoder(), regions(5)
    other = given.masked_fill(~MASK[..., None], 1e3)
    for one, name in zip(encoder(given, MASK), ("object_top", "object_low", "image_top", "image_low")):
        again = getattr(encoder(other, MASK), name)
        torch.testing.assert_close(one[MASK] if one.ndim == 3 else one, again[MASK] if again.ndim == 3 else again)


def test_an_image_is_the_same_alone_as_in_a_batch_and_in_any_order_of_its_regions() -> None:
    encoder, given = image_encoder(), regions(5)
    batch = encoder(given, MASK)

    alone = encoder(given[2:, :2].flip(1), torch.ones(1, 2, dtype=torch.bool))

    torch.testing.assert_close(alone.object_top[0].flip(0), batch.object_top[2, :2])
    torch.testing.assert_close(alone.image_low[0], batch.image_low[2])
    for vectors in batch:
        torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(vectors.shape[:-1]))


def test_pooling_of_one_member_is_that_member_merged() -> None:
    torch.manual_seed(0)
    pooling, members = SetAttention(5, 6), regions(5)

    torch.testing.assert_close(pooling(members, MASK)[1], pooling.merge(members[1, 0]))


def test_objects_are_left_out_in_training_alone() -> None:
    encoder, given = image_encoder(object_dropout=0.5), regions(5)
    still = encoder(given, MASK)

    trained = encoder.train()(given, MASK)

    assert (trained.object_top[MASK] == 0).float().mean() == pytest.approx(0.5, abs=0.25) and not (still.object_top == 0).any()
    torch.testing.assert_close(trained.image_top, still.image_top)  # dropout is for what is compared region by region


@pytest.mark.parametrize("normalise", [False, True])
def test_words_are_averaged_without_padding_whatever_their_width(normalise: bool) -> None:
    torch.manual_seed(0)
    encoder = WordLevels(9, vector_dim=4, **SIZES, dropout=0.0, normalise=normalise).eval()

    together = encoder(torch.tensor([[1, 5, 2], [1, 2, 0]]), torch.tensor([[True] * 3, [True, True, False]]))
    alone = encoder(torch.tensor([[1, 2]]), torch.ones(1, 2, dtype=torch.bool))

    for one, other in zip(together, alone):
        torch.testing.assert_close(one[1], other[0])
        assert (abs(other.norm().item() - 1) < 1e-5) is normalise
    assert encoder.words.weight[0].abs().max() == 0
