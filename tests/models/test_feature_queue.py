"""A ring of past features."""

from __future__ import annotations

import io
from collections import deque

import pytest
import torch

from losses.contrastive import InfoNCE
from models.momentum.feature_queue import FeatureQueue


def rows(*values: float) -> torch.Tensor:
    return torch.tensor([[value, -value] for value in values])


def test_rows_go_round_and_the_oldest_are_overwritten() -> None:
    queue = FeatureQueue(4, 2, keys=1)

    queue.enqueue(rows(1, 2, 3), torch.tensor([[10], [20], [30]]))
    first = queue.features[:, 0].tolist(), queue.keys[:, 0].tolist(), queue.valid.tolist(), queue.pointer.item()
    queue.enqueue(rows(4, 5), torch.tensor([[40], [50]]))

    assert first == ([1, 2, 3, 0], [10, 20, 30, -1], [True, True, True, False], 3)
    assert queue.features[:, 0].tolist() == [5, 2, 3, 4] and queue.features[:, 1].tolist() == [-5, -2, -3, -4]
    assert queue.keys[:, 0].tolist() == [50, 20, 30, 40]
    assert (queue.pointer.item(), queue.filled.item(), queue.valid.tolist()) == (1, 4, [True] * 4)


@pytest.mark.parametrize("counts", [[4, 4, 4], [1] * 7, [3, 3, 3], [5], [9], [4], [2, 11, 3], [0, 3, 0, 13]])
def test_the_ring_holds_what_a_list_of_the_last_rows_holds(counts: list[int]) -> None:
    queue, plain = FeatureQueue(4, 2, keys=3), deque[tuple[float, list[int]]](maxlen=4)
    number = 0

    for count in counts:
        new = [(float(number + one), [number + one, -1, 7]) for one in range(1, count + 1)]
        number += count
        plain.extend(new)
        queue.enqueue(rows(*(value for value, _ in new)).reshape(-1, 2), torch.tensor([keys for _, keys in new], dtype=torch.int64).reshape(-1, 3))

        # From the row that is overwritten next on, the ring is in the order of age.
        order = [(queue.pointer.item() + place) % 4 for place in range(4)]
        kept = [(queue.features[place, 0].item(), queue.keys[place].tolist()) for place in order if queue.valid[place]]
        assert kept == list(plain)


def test_a_row_shares_an_id_with_a_query_and_padding_is_none() -> None:
    queue = FeatureQueue(4, 2, keys=2)
    queue.enqueue(rows(1, 2, 3), torch.tensor([[5, 6], [6, -1], [-1, -1]]))

    one = queue.shared(torch.tensor([6, 5, 9, -1]))
    lists = queue.shared(torch.tensor([[9, 5, -1], [8, 9, -1]]))

    assert one.tolist() == [[True, True, False, False], [True, False, False, False], [False] * 4, [False] * 4]
    assert lists.tolist() == [[True, False, False, False], [False] * 4]


def test_documents_are_compared_with_rows_that_are_single_queries() -> None:
    torch.manual_seed(0)
    queue = FeatureQueue(20, 2, keys=1)
    queries, documents = torch.randint(9, (20, 1)), torch.randint(-1, 9, (6, 5))
    queue.enqueue(torch.randn(20, 2), queries)

    answers = queue.shared(documents)

    expected = [[int(query) in document.tolist() for query in queries] for document in documents]
    assert answers.tolist() == expected and answers.any() and not answers.all()


def test_a_queue_without_ids_shares_nothing() -> None:
    queue = FeatureQueue(2, 2)
    queue.enqueue(rows(1, 2, 3))

    assert queue.features[:, 0].tolist() == [3, 2] and queue.keys.shape == (2, 0)
    assert not queue.shared(torch.tensor([0, -1])).any() and queue.shared(torch.tensor([0, -1])).shape == (2, 2)


def test_ids_belong_to_a_queue_that_has_room_for_them() -> None:
    for queue, keys in (
        (FeatureQueue(2, 2), torch.tensor([[1]])),
        (FeatureQueue(2, 2, keys=1), None),
        (FeatureQueue(2, 2, keys=1), torch.ones(1, 2)),
    ):
        with pytest.raises(AssertionError, match="keys go with rows"):
            queue.enqueue(rows(1), keys)


def test_as_further_candidates_only_filled_rows_that_are_no_right_answer_count() -> None:
    torch.manual_seed(0)
    query, document = torch.randn(2, 3, requires_grad=True), torch.randn(2, 3)
    past = torch.randn(3, 3)
    queue = FeatureQueue(5, 3, keys=1)
    queue.enqueue(past, torch.tensor([[7], [8], [4]]))
    excluded = torch.cat([torch.zeros(2, 2, dtype=torch.bool), ~queue.valid | queue.shared(torch.tensor([8, 4]))], dim=1)

    loss = InfoNCE()(query, torch.cat([document, queue.features]), torch.arange(2), excluded=excluded)

    alone = [
        InfoNCE()(query[:1], torch.cat([document, past[[0, 2]]]), torch.tensor([0])),
        InfoNCE()(query[1:], torch.cat([document, past[[0, 1]]]), torch.tensor([1])),
    ]
    torch.testing.assert_close(loss, (alone[0] + alone[1]) / 2)


def test_a_saved_queue_goes_on_exactly() -> None:
    torch.manual_seed(0)
    queue, file = FeatureQueue(5, 3, keys=2), io.BytesIO()
    queue.enqueue(torch.randn(7, 3), torch.randint(9, (7, 2)))

    torch.save(queue.state_dict(), file)
    again = FeatureQueue(5, 3, keys=2)
    again.load_state_dict(torch.load(io.BytesIO(file.getvalue()), weights_only=True))
    features, keys = torch.randn(2, 3), torch.randint(9, (2, 2))
    for one in (queue, again):
        one.enqueue(features, keys)

    assert set(queue.state_dict()) == {"features", "keys", "pointer", "filled"}
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in queue.state_dict().items())
    assert again.pointer.item() == 4 and torch.equal(again.features[2:4], features)


def test_rows_are_float32_without_a_gradient() -> None:
    queue = FeatureQueue(2, 2)
    features = torch.tensor([[1.0, 2.0]], dtype=torch.float16, requires_grad=True)

    queue.enqueue(features)

    assert queue.features.dtype == torch.float32 and not queue.features.requires_grad
    assert queue.features[0].tolist() == [1, 2] and list(queue.parameters()) == []


def test_no_number_is_read_from_the_device() -> None:
    # Meta tensors have no numbers: whatever waits for one raises.
    queue = FeatureQueue(4, 2, keys=2).to("meta")

    queue.enqueue(torch.empty(3, 2, device="meta"), torch.empty(3, 2, dtype=torch.int64, device="meta"))
    shared = queue.shared(torch.empty(5, dtype=torch.int64, device="meta"))

    assert shared.shape == (5, 4) and queue.valid.device.type == "meta"
    with pytest.raises((RuntimeError, NotImplementedError)):
        queue.pointer.item()


def test_a_queue_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="queue of 0 rows"):
        FeatureQueue(0, 2)
