"""Queues by category, against the loop that they stand for."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from models.momentum.category_queues import CategoryQueues

C, K, D = 4, 5, 3
SIDES = ("video", "goods")


def loop(state: dict[str, Tensor], rows: dict[str, Tensor], category: Tensor, items: Tensor) -> None:
    """Row after row into the slot that its category's pointer names."""
    for number, own in enumerate(category.tolist()):
        place = int(state["pointer"][own])
        for side in SIDES:
            state[side][own, place] = rows[side][number]
        state["items"][own, place] = items[number]
        state["pointer"][own] = (place + 1) % K
        state["filled"][own] = min(int(state["filled"][own]) + 1, K)


@pytest.mark.parametrize("random", [False, True])
def test_every_batch_leaves_what_a_loop_over_its_rows_leaves(random: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    queues = CategoryQueues(SIDES, C, K, D, random=random)
    state = {name: value.clone() for name, value in queues.state_dict().items()}

    for size in (1, 3, 0, 7, 2, 20, 4, 6):  # 20: more of one category than it has slots; 0: none at all
        rows = {side: torch.randn(size, D, generator=generator) for side in SIDES}
        category = torch.randint(C - 1, (size,), generator=generator)  # the last category gets nothing
        items = torch.randint(100, (size,), generator=generator)
        queues.enqueue(rows, category, items)
        loop(state, rows, category, items)

        assert all(torch.equal(value, state[name]) for name, value in queues.state_dict().items())
    assert queues.filled.tolist() == ([K] * C if random else [K, K, K, 0])


def test_a_queue_that_is_overrun_keeps_the_last_rows_behind_its_pointer() -> None:
    queues = CategoryQueues(("video",), 2, 3, 1)

    queues.enqueue({"video": torch.arange(8.0)[:, None]}, torch.tensor([1, 1, 0, 1, 1, 1, 1, 1]), torch.arange(8))

    assert queues.video[1, :, 0].tolist() == [7, 5, 6] and queues.items[1].tolist() == [7, 5, 6]
    assert queues.video[0, :, 0].tolist() == [2, 0, 0] and queues.items[0].tolist() == [2, -1, -1]
    assert queues.pointer.tolist() == [1, 1] and queues.filled.tolist() == [1, 3]


def test_a_centroid_is_the_mean_of_the_rows_that_are_there() -> None:
    queues = CategoryQueues(("video",), 3, 4, 2)
    rows = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 3.0]])

    queues.enqueue({"video": rows}, torch.tensor([2, 0, 0]), torch.tensor([5, 6, 7]))

    assert queues.centroids("video").tolist() == [[0, 2], [0, 0], [1, 0]]


def test_random_queues_are_full_of_unit_vectors_that_come_from_no_item() -> None:
    queues = CategoryQueues(SIDES, 2, 100, 8, random=True)

    torch.testing.assert_close(queues.video.norm(dim=-1), torch.ones(2, 100))
    assert torch.equal(queues.video, queues.goods) and queues.video.std() > 0.3
    assert queues.filled.tolist() == [100, 100] and queues.items.unique().tolist() == [-1]


def test_queues_without_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="queues of 0 rows hold nothing"):
        CategoryQueues(SIDES, 2, 0, 8)
