"""The contrast with weighted queues: by hand, against whole logits, and where nothing is left to compare."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from losses.weighted_queue_contrast import Negatives, SameItem, WeightedQueueContrast, weighted_logits

B, C, K, D = 7, 4, 6, 5


def case(dtype: torch.dtype = torch.float64, *, same: bool = True, slots: tuple[int, ...] = (6, 0, 3, 5)) -> tuple[Tensor, Tensor, Negatives]:
    """Queries, positives and partly filled queues, some of whose rows come from the queries' own items."""
    generator = torch.Generator().manual_seed(3)

    def unit(*shape: int) -> Tensor:
        return normalize(torch.randn(*shape, generator=generator, dtype=dtype), dim=-1)

    category = torch.randint(C, (B,), generator=generator)
    found = SameItem(category, torch.randint(3, (B,), generator=generator), torch.randint(-1, 3, (C, K), generator=generator))
    weights = 2 * torch.rand(B, C, generator=generator, dtype=dtype) - 0.5
    return unit(B, D), unit(B, D), Negatives(unit(C, K, D), torch.tensor(slots), weights, found if same else None)


def whole(query: Tensor, positive: Tensor, negatives: Negatives, temperature: float, weight: Tensor | None = None) -> Tensor:
    loss = cross_entropy(weighted_logits(query, positive, negatives, temperature), torch.zeros(len(query), dtype=torch.long), reduction="none")
    return loss.mean() if weight is None else (loss * weight).sum()


def test_two_queries_and_two_queues_by_hand() -> None:
    query = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    positive = torch.tensor([[0.5, 0.0], [0.0, 1.0]])
    rows = torch.tensor([[[1.0, 0.0], [0.0, 4.0]], [[3.0, 3.0], [9.0, 9.0]]])
    negatives = Negatives(rows, torch.tensor([2, 1]), torch.tensor([[1.0, 0.5], [0.25, 1.0]]))

    loss = WeightedQueueContrast(0.5)(query, positive, negatives)
    logits = weighted_logits(query, positive, negatives, 0.5)

    # Products over .5, times the weight of the queue; the last slot of the second queue is empty.
    first, second = [1.0, 2.0, 0.0, 3.0], [2.0, 0.0, 2.0, 6.0]
    assert logits.tolist() == [[*first, -math.inf], [*second, -math.inf]]
    by_hand = [math.log(sum(map(math.exp, one))) - one[0] for one in (first, second)]
    assert loss.item() == pytest.approx(sum(by_hand) / 2, rel=1e-6)


@pytest.mark.parametrize("tile", [1, 4, 100])
@pytest.mark.parametrize("same", [True, False])
def test_loss_and_gradient_are_those_of_whole_logits_for_any_tile(same: bool, tile: int) -> None:
    query, positive, negatives = case(same=same)
    weight = torch.rand(B, dtype=torch.float64)

    for given in (None, weight):
        ours, theirs = query.clone().requires_grad_(), query.clone().requires_grad_()
        one = WeightedQueueContrast(0.07, tile=tile)(ours, positive, negatives, weight=given)
        other = whole(theirs, positive, negatives, 0.07, given)
        (3 * one).backward()
        (3 * other).backward()

        torch.testing.assert_close(one, other)
        torch.testing.assert_close(ours.grad, theirs.grad)


def test_rows_of_a_querys_own_item_are_left_out_in_its_own_category_alone() -> None:
    query, positive, negatives = case(torch.float32, slots=(6, 6, 6, 6))
    category, item, items = negatives.same

    missing = weighted_logits(query, positive, negatives, 1.0)[:, 1:].isinf().view(B, C, K)

    assert missing.any()
    for row in range(B):
        for other in range(C):
            assert missing[row, other].tolist() == [other == category[row] and number == item[row] for number in items[other]]


@pytest.mark.parametrize("temperature", [1e-3, 1.0, 100.0])
def test_no_temperature_runs_out_of_numbers(temperature: float) -> None:
    query, positive, negatives = case(torch.float32)
    exact = [value.double() if value.is_floating_point() else value for value in (negatives.rows, negatives.slots, negatives.weights)]
    query.requires_grad_()

    loss = WeightedQueueContrast(temperature)(query, positive, negatives)
    loss.backward()

    expected = whole(query.detach().double(), positive.double(), Negatives(*exact, negatives.same), temperature)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)
    assert query.grad is not None and query.grad.isfinite().all()


def test_with_empty_queues_there_is_nothing_to_lose() -> None:
    query, positive, negatives = case(torch.float32, slots=(0, 0, 0, 0))
    query.requires_grad_()

    loss = WeightedQueueContrast()(query, positive, negatives)
    loss.backward()

    assert loss.item() == 0 and query.grad is not None and not query.grad.any()


def test_under_autocast_products_are_rounded_and_sums_are_not() -> None:
    query, positive, negatives = case(torch.float32)
    query.requires_grad_()
    exact = WeightedQueueContrast()(query, positive, negatives)
    (wanted,) = torch.autograd.grad(exact, query)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = WeightedQueueContrast()(query, positive, negatives)
    loss.backward()

    assert loss.dtype == torch.float32 and loss.item() != exact.item()
    assert loss.item() == pytest.approx(exact.item(), rel=0.02)
    assert query.grad is not None and (query.grad - wanted).abs().max() < 0.03 * wanted.abs().max()


@pytest.mark.parametrize(("options", "message"), [({"temperature": 0.0}, "temperature 0.0: it divides"), ({"tile": 0}, "tile 0: it counts")])
def test_settings_that_mean_nothing_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WeightedQueueContrast(**options)
