"""Bipolar attention between frames and words: the published form against a slow twin, what is missing, and one modality alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from models.fusion.bipolar_attention import BipolarAttention, SignedAttention
from models.fusion.masked_softmax import masked_softmax
from models.fusion.released_bipolar_attention import ReleasedBipolarAttention
from models.fusion.vector_set import VectorSet, vector_set

FORMS = [BipolarAttention, ReleasedBipolarAttention]
SIZES = {"vision": 5, "words": 3}


def sets(frames: int = 4, words: int = 2, items: int = 3) -> dict[str, VectorSet]:
    torch.manual_seed(1)
    return {"vision": vector_set(torch.randn(items, frames, 5)), "words": vector_set(torch.randn(items, words, 3))}


def slow_published(attention: BipolarAttention, vision: np.ndarray, words: np.ndarray, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """The slow obvious twin for one item, row by row from the paper's formulas: (vision [T, W], words [L, W])."""
    w = {name: value.numpy().T for name, value in attention.state_dict().items()}
    x = {name: np.maximum(own @ w[f"project.{name}.weight"], 0) for name, own in (("vision", vision), ("words", words))}
    out = {}
    for name, other in (("vision", "words"), ("words", "vision")):
        rows = []
        for row in x[name]:
            taken = []
            for sign, factor in ((0, alpha), (1, -(1 - alpha))):
                query, keys, values = (
                    one @ w[f"signs.{name}.{sign}.{part}.weight"] for one, part in ((row, "query"), (x[other], "key"), (x[other], "value"))
                )
                weights = [math.exp(factor * float(query @ key) / math.sqrt(len(key))) for key in keys]
                taken.append(sum(weight * value for weight, value in zip(weights, values)) / sum(weights))
            rows.append(np.maximum(row + np.concatenate(taken) @ w[f"first.{name}.weight"], 0) @ w[f"second.{name}.weight"])
        out[name] = np.stack(rows)
    return out["vision"], out["words"]


@torch.no_grad()
def test_the_published_form_is_the_papers_formula_row_by_row() -> None:
    torch.manual_seed(0)
    attention = BipolarAttention(SIZES, 6, alpha=0.6)
    for parameter in attention.parameters():
        parameter.mul_(3)  # weights that tell vectors apart
    given = sets()

    found = attention(given)

    for item in range(3):
        expected = slow_published(attention, given["vision"].values[item].numpy(), given["words"].values[item].numpy(), 0.6)
        np.testing.assert_allclose(found["vision"][item].numpy(), expected[0], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found["words"][item].numpy(), expected[1], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_signed_attention_by_hand_a_negative_factor_takes_from_what_is_least_alike() -> None:
    asking, asked = torch.tensor([[[1.0]]]), torch.tensor([[[math.log(3)], [0.0]]])
    present = torch.ones(1, 2, dtype=torch.bool)

    def weight_of_first(factor: float) -> float:
        attention = SignedAttention(1, factor)
        for layer in (attention.query, attention.key, attention.value):
            layer.weight.fill_(1.0)
        return attention(asking, asked, present).item() / math.log(3)

    # exp(log 3) : exp(0) is 3 : 1
    assert weight_of_first(1.0) == pytest.approx(3 / 4)
    assert weight_of_first(-1.0) == pytest.approx(1 / 4)
    assert weight_of_first(0.0) == pytest.approx(1 / 2)


def test_the_signs_have_projections_of_their_own_and_the_factors_of_the_paper() -> None:
    attention = BipolarAttention(SIZES, 4, alpha=0.6)

    scales = [sign.scale * 2 for sign in attention.signs["words"]]

    assert scales == pytest.approx([0.6, -0.4])
    assert len({id(parameter) for parameter in attention.signs.parameters()}) == 2 * 2 * 3


@pytest.mark.parametrize("form", FORMS)
@torch.no_grad()
def test_vectors_that_are_missing_change_nothing(form: type[nn.Module]) -> None:
    torch.manual_seed(0)
    attention = form(SIZES, 6)
    vision, words = sets()["vision"].values, sets()["words"].values
    longer = torch.cat([vision, torch.full((3, 2, 5), 7.0)], dim=1)

    short = attention({"vision": vector_set(vision), "words": vector_set(words)})
    padded = attention({"vision": vector_set(longer, torch.arange(6).expand(3, 6) < 4), "words": vector_set(words)})
    unmasked = attention({"vision": vector_set(longer), "words": vector_set(words)})

    torch.testing.assert_close(padded["vision"][:, :4], short["vision"])
    torch.testing.assert_close(padded["words"], short["words"])
    assert (unmasked["words"] - short["words"]).abs().max() > 1e-3


@pytest.mark.parametrize("form", FORMS)
def test_an_item_without_words_has_its_frames_alone_and_finite_gradients_everywhere(form: type[nn.Module]) -> None:
    torch.manual_seed(0)
    attention = form(SIZES, 6)
    vision, words = sets()["vision"], sets()["words"].values
    nobody = torch.zeros(3, dtype=torch.bool)

    found = attention({"vision": vision, "words": vector_set(words, nobody)})["vision"]
    other = attention({"vision": vision, "words": vector_set(words * float("nan"), nobody)})["vision"]
    found.sum().backward()

    assert torch.equal(found, other)
    if form is BipolarAttention:
        alone = attention.second["vision"](attention.project["vision"](vision.values).relu())
        torch.testing.assert_close(found, alone)
    grads = [parameter.grad for name, parameter in attention.named_parameters() if name.split(".")[-2] != "words" and ".words." not in name]
    assert all(grad is not None and grad.isfinite().all() for grad in grads)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("sign", ["positive", "negative"])
def test_without_a_sign_its_part_of_the_network_is_not_there(form: type[nn.Module], sign: str) -> None:
    whole, part = form(SIZES, 6), form(SIZES, 6, **{sign: False})

    found = part(sets())

    behind = {BipolarAttention: "first", ReleasedBipolarAttention: "taken"}[form]
    for name in SIZES:
        assert getattr(whole, behind)[name].in_features == 2 * getattr(part, behind)[name].in_features
        assert found[name].shape == whole(sets())[name].shape
    if form is BipolarAttention:
        assert [kept.scale * 6**0.5 for kept in part.signs["words"]] == pytest.approx([-0.4 if sign == "positive" else 0.6])


@pytest.mark.parametrize("form", FORMS)
def test_one_modality_alone_has_no_attention_and_no_parameter_without_a_gradient(form: type[nn.Module]) -> None:
    torch.manual_seed(0)
    attention = form({"words": 3}, 6)

    found = attention({"words": sets()["words"]})
    found["words"].square().sum().backward()

    assert list(found) == ["words"] and found["words"].shape == (3, 2, 6)
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in attention.parameters())


def test_a_masked_softmax_by_hand() -> None:
    scores = torch.tensor([[0.0, math.log(3), 5.0], [1.0, 2.0, 3.0]], requires_grad=True)
    present = torch.tensor([[True, True, False], [False, False, False]])

    weights = masked_softmax(scores, present, dim=1)
    weights[:, 0].sum().backward()

    torch.testing.assert_close(weights, torch.tensor([[0.25, 0.75, 0.0], [0.0, 0.0, 0.0]]))
    torch.testing.assert_close(scores.grad, torch.tensor([[0.1875, -0.1875, 0.0], [0.0, 0.0, 0.0]]))
