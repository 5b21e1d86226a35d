"""The popularity network: what it takes, what its switches take away, what is missing, and that retrieval teaches it a law."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.fusion.neighbours import Neighbours
from models.popularity import PopularityNetwork

FORMS = ["published", "released"]
ABLATIONS: dict[str, dict[str, Any]] = {
    "whole": {},
    "no retrieval": {"retrieval": False},
    "no positive": {"positive": False},
    "no negative": {"negative": False},
    "no vision": {"vision_dim": 0},
    "no text": {"words_dim": 0},
}
Item = tuple[Tensor, Tensor | None, Tensor, Tensor | None]


def network(seed: int = 0, **changes: Any) -> PopularityNetwork:
    torch.manual_seed(seed)
    return PopularityNetwork(**{"vision_dim": 5, "words_dim": 3, "width": 8, "hidden": (16, 6)} | changes)


def item(items: int = 4, frames: int = 3, words: int = 2) -> Item:
    torch.manual_seed(1)
    everyone = torch.ones(items, dtype=torch.bool)
    return torch.randn(items, frames, 5), everyone, torch.randn(items, words, 3), everyone


def near(items: int = 4, frames: int = 3, k: int = 6, present: Tensor | None = None) -> Neighbours:
    torch.manual_seed(2)
    return Neighbours(torch.rand(items, k), 5 + torch.randn(items, k), present, torch.randn(items, k, frames, 5), torch.randn(items, k, 3))


def gradients(net: nn.Module, prediction: Tensor) -> dict[str, Tensor | None]:
    net.zero_grad()
    prediction.square().sum().backward()
    return {name: parameter.grad for name, parameter in net.named_parameters()}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("ablation", ABLATIONS)
def test_without_a_part_every_parameter_that_is_left_gets_a_gradient(form: str, ablation: str) -> None:
    net = network(form=form, **ABLATIONS[ablation])
    for parameter in net.parameters():
        parameter.data.mul_(3)  # so that a small gradient is far from a rounding error

    prediction = net(*item(), near())
    grads = gradients(net, prediction)

    assert prediction.shape == (4,) and prediction.dtype == torch.float32
    still = {name for name, grad in grads.items() if grad is None or grad.abs().max() < 1e-5}
    # No softmax sees the bias of its scores, and where neighbours have one vector of words each there is nothing to choose from, neither in
    # pooling nor for frames that ask.
    silent = {name for name in grads if name.endswith("score.bias") or name == "neighbours.pooling.words.score.weight"}
    silent |= {name for name in grads if name.startswith("neighbours.attention.signs.vision") and name.endswith(("query.weight", "key.weight"))}
    assert still == silent


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("ablation", "blocks"), [("whole", 10), ("no retrieval", 2), ("no positive", 10), ("no vision", 4), ("no text", 4)])
def test_the_last_layers_see_as_many_blocks_as_there_are(form: str, ablation: str, blocks: int) -> None:
    net = network(form=form, **ABLATIONS[ablation])

    joined = net.joined(*item(), near())

    # As published the neighbours' label is a block of its own.
    assert joined.shape == (4, 8 * (blocks + (form == "published" and ablation != "no retrieval")))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("ablation", ABLATIONS)
def test_a_network_looks_at_what_its_switches_leave_and_at_nothing_else(form: str, ablation: str) -> None:
    net = network(form=form, **ABLATIONS[ablation])
    vision, has, words, _ = item()
    neighbours = near()

    before = net(vision, has, words, has, neighbours)
    changed = {
        "vision": net(vision + 1, has, words, has, neighbours._replace(vision=neighbours.vision + 1)),
        "words": net(vision, has, words + 1, has, neighbours._replace(words=neighbours.words + 1)),
        "labels": net(vision, has, words, has, neighbours._replace(labels=neighbours.labels + 1)),
    }

    unseen = {"no retrieval": {"labels"}, "no vision": {"vision"}, "no text": {"words"}}.get(ablation, set())
    assert {name for name, after in changed.items() if torch.equal(after, before)} == unseen


@pytest.mark.parametrize("form", FORMS)
@torch.no_grad()
def test_single_vectors_any_number_of_frames_and_any_k(form: str) -> None:
    net = network(form=form)
    vision, has, words, _ = item(frames=1, words=1)
    neighbours = near(frames=1)

    plain = net(vision[:, 0], None, words[:, 0], None, neighbours._replace(vision=neighbours.vision[:, :, 0]))

    torch.testing.assert_close(plain, net(vision, has, words, has, neighbours))
    for frames, k in ((1, 1), (7, 2), (2, 20)):
        assert net(*item(frames=frames), near(frames=frames, k=k)).isfinite().all()


@pytest.mark.parametrize("form", FORMS)
@torch.no_grad()
def test_rows_do_not_depend_on_their_batch_nor_on_what_is_missing(form: str) -> None:
    net = network(form=form)
    vision, _, words, _ = item()
    has_vision, has_words = torch.tensor([True, True, False, False]), torch.tensor([True, False, True, False])
    present = torch.arange(6).expand(4, 6) < torch.tensor([[6], [3], [1], [0]])

    found = net(vision, has_vision, words, has_words, near(present=present))
    others = net(
        vision.where(has_vision[:, None, None], 9), has_vision, words.where(has_words[:, None, None], torch.nan), has_words, near(present=present)
    )
    one = near(present=present)._replace(has_vision=None)
    alone = [
        net(
            *(value[row : row + 1] for value in (vision, has_vision, words, has_words)),
            Neighbours(*(v if v is None else v[row : row + 1] for v in one)),
        )
        for row in range(4)
    ]

    assert torch.equal(found, others) and found.isfinite().all()
    torch.testing.assert_close(found, torch.cat(alone))


@pytest.mark.parametrize("form", FORMS)
@torch.no_grad()
def test_fewer_neighbours_are_as_a_smaller_k_and_none_leave_only_the_item(form: str) -> None:
    net = network(form=form)
    neighbours, everyone = near(), torch.ones(4, 2, dtype=torch.bool)
    two = Neighbours(*(value if value is None else value[:, :2] for value in neighbours))

    masked = net(*item(), neighbours._replace(present=torch.arange(6).expand(4, 6) < 2))
    none = net.joined(*item(), neighbours._replace(present=torch.zeros(4, 6, dtype=torch.bool)))

    torch.testing.assert_close(masked, net(*item(), two._replace(present=everyone)))
    assert none[:, :16].abs().sum() > 0 and not none[:, 16:].any()


@pytest.mark.parametrize("form", FORMS)
def test_a_batch_in_which_nothing_is_there_keeps_every_parameter_in_the_graph(form: str) -> None:
    net = network(form=form)
    vision, has, words, _ = item()

    prediction = net(vision, ~has, words, ~has, near(present=torch.zeros(4, 6, dtype=torch.bool)))
    grads = gradients(net, prediction)

    assert torch.equal(prediction, prediction[:1].expand(4))
    assert all(grad is not None and grad.isfinite().all() for grad in grads.values())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_gives_nearly_the_same_float32_and_finite_gradients(form: str, dtype: torch.dtype) -> None:
    net = network(form=form)
    expected = net(*item(), near())

    with torch.autocast("cpu", dtype=dtype):
        found = net(*item(), near())
    grads = gradients(net, found)

    assert found.dtype == torch.float32 and not torch.equal(found, expected)
    torch.testing.assert_close(found, expected, rtol=0.02, atol=0.02)
    assert all(grad is not None and grad.isfinite().all() for grad in grads.values())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vision_dim": 0, "words_dim": 0}, "neither vision nor words"),
        ({"positive": False, "negative": False}, "without its positive and without its negative sign"),
        ({"alpha": 1.5}, r"alpha is 1.5; .* give 0 to 1"),
    ],
)
def test_a_network_that_could_see_nothing_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        network(**changes)


def test_retrieval_without_neighbours_is_refused_and_a_network_without_retrieval_needs_none() -> None:
    with pytest.raises(ValueError, match="no neighbours given to a network with retrieval"):
        network()(*item())

    assert network(retrieval=False)(*item()).shape == (4,)


def law(items: int, seed: int) -> tuple[Item, Neighbours, Tensor]:
    """Items whose popularity is the mean label of their neighbours by similarity, plus something of their frames and of their words."""
    draw = torch.Generator().manual_seed(seed)
    vision, words = torch.randn(items, 3, 5, generator=draw), torch.randn(items, 3, generator=draw)
    labels, similarity = 2 * torch.randn(items, 4, generator=draw), torch.rand(items, 4, generator=draw)
    neighbours = Neighbours(similarity, labels, None, torch.randn(items, 4, 3, 5, generator=draw), torch.randn(items, 4, 3, generator=draw))
    popularity = neighbours.label().values.flatten() + vision[:, :, 0].mean(dim=1) + words[:, 0] / 2
    return (vision, None, words, None), neighbours, popularity


def error_after_learning(**changes: Any) -> float:
    """nMSE on items that were not learned from."""
    net = network(**changes, hidden=(16,))
    optimiser = torch.optim.Adam(net.parameters(), lr=0.01)
    features, neighbours, popularity = law(256, seed=3)
    for _ in range(50):
        optimiser.zero_grad()
        F.mse_loss(net(*features, neighbours), popularity).backward()
        optimiser.step()
    features, neighbours, popularity = law(512, seed=4)
    with torch.no_grad():
        return (F.mse_loss(net(*features, neighbours), popularity) / popularity.var(correction=0)).item()


@pytest.mark.parametrize("form", FORMS)
def test_a_law_of_neighbours_and_content_is_learned_only_with_neighbours_and_their_labels_alone_are_not_enough(form: str) -> None:
    _, neighbours, popularity = law(512, seed=4)
    labels_alone = (F.mse_loss(neighbours.label().values.flatten(), popularity) / popularity.var(correction=0)).item()

    with_retrieval, without = error_after_learning(form=form), error_after_learning(form=form, retrieval=False)

    # .64 of the variance are the neighbours' labels, and .36 the item itself: no network can do better than those without the one or the other.
    assert labels_alone == pytest.approx(0.36, abs=0.05)
    assert with_retrieval < 0.1 < 0.6 < without
