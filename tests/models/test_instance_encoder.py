"""Encoders of MQMC: perceptrons with batch norm, rows that lack a modality, context gating."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from models.batch_norm import synchronise_batch_norm
from models.batch_norm_mlp import BatchNormMLP
from models.fusion.context_gating import ContextGatedFusion
from models.instance_encoder import InstanceEncoder
from models.present_rows import PresentRows

PRESENT = torch.tensor([True, False, True, True])


def test_a_perceptron_has_norms_between_its_layers_and_behind_the_last_one_where_wanted() -> None:
    kinds = [type(layer).__name__ for layer in BatchNormMLP(3, 5, 5, 2)]

    assert kinds == ["Linear", "BatchNorm1d", "LeakyReLU", "Linear", "BatchNorm1d", "LeakyReLU", "Linear"]
    assert [type(layer).__name__ for layer in BatchNormMLP(3, 2, ends_linear=False)] == ["Linear", "BatchNorm1d", "LeakyReLU"]


def test_context_gating_by_hand() -> None:
    fusion = ContextGatedFusion(1).eval()
    for layer, weight, bias in (
        (fusion.first, [[2.0]], [1.0]),
        (fusion.second, [[3.0]], [0.0]),
        (fusion.joint, [[1.0, 10.0]], [0.5]),
        (fusion.gate, [[0.0]], [0.0]),
    ):
        layer.weight.data, layer.bias.data = torch.tensor(weight), torch.tensor(bias)

    found = fusion(torch.tensor([[4.0]]), torch.tensor([[-1.0]]))

    # 1 * (2 * 4 + 1) + 10 * (3 * -1) + .5 = -20.5, gated by sigmoid(0)
    assert found.item() == pytest.approx(-20.5 / 2, rel=1e-4)


def test_rows_that_lack_a_modality_are_zero_and_no_part_of_its_statistics() -> None:
    torch.manual_seed(0)
    features = torch.randn(4, 3)
    whole, part = PresentRows(BatchNormMLP(3, 5, ends_linear=False)), PresentRows(BatchNormMLP(3, 5, ends_linear=False))
    part.load_state_dict(whole.state_dict())

    masked = whole(features.masked_fill(~PRESENT[:, None], 7.0), PRESENT)
    alone = part(features[PRESENT], torch.ones(3, dtype=torch.bool))

    assert torch.equal(masked[PRESENT], alone) and not masked[~PRESENT].any()
    assert torch.equal(whole.layers[1].running_mean, part.layers[1].running_mean) and whole.layers[1].running_mean.any()


@pytest.mark.parametrize("synchronised", [False, True])
@pytest.mark.parametrize("rows", [0, 1])
def test_fewer_than_two_rows_are_normalised_as_in_evaluation_and_every_parameter_stays_in_the_graph(rows: int, synchronised: bool) -> None:
    torch.manual_seed(0)
    encoder = PresentRows(BatchNormMLP(3, 4, 5))
    if synchronised:
        synchronise_batch_norm(encoder)
    features, present = torch.randn(4, 3), torch.arange(4) < rows
    expected = encoder.eval()(features, present)
    before = {name: value.clone() for name, value in encoder.named_buffers()}

    found = encoder.train()(features, present)
    found.sum().backward()

    assert torch.equal(found, expected) and found[:rows].all() and not found[rows:].any()
    assert all(torch.equal(value, before[name]) for name, value in encoder.named_buffers())
    assert all(parameter.grad is not None for parameter in encoder.parameters())
    encoder(features, torch.ones(4, dtype=torch.bool))
    assert not torch.equal(encoder.layers[1].running_mean, before["layers.1.running_mean"])  # and back to the batch's statistics


def test_an_instance_is_its_modalities_fused_and_mapped_and_one_that_nobody_has_needs_no_encoder() -> None:
    torch.manual_seed(0)
    encoder = InstanceEncoder(6, 0, hidden=4, width=5, dim=3).eval()
    vision, everyone = torch.randn(2, 6), torch.ones(2, dtype=torch.bool)

    features = encoder.modalities(vision, everyone, torch.zeros(2, 0), ~everyone)
    found = encoder(vision, everyone, torch.zeros(2, 0), ~everyone)

    assert not features.words.any() and features.vision.shape == features.words.shape == (2, 5)
    assert torch.equal(features.fusion, encoder.fusion(features.vision, torch.zeros(2, 5)))
    assert torch.equal(found, encoder.query(features.fusion)) and found.shape == (2, 3)
    assert not any(name.startswith("words.") for name in encoder.state_dict())
    assert sum(isinstance(module, nn.BatchNorm1d) for module in encoder.modules()) == 2 + 1 + 2


def test_dropout_leaves_features_out_in_training_alone() -> None:
    torch.manual_seed(0)
    encoder = InstanceEncoder(50, 20, hidden=4, width=5, dim=3, dropout=0.5)
    seen: list[torch.Tensor] = []
    for part in (encoder.vision, encoder.words):
        part.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    everyone = torch.ones(2, dtype=torch.bool)
    inputs = (torch.ones(2, 50), everyone, torch.ones(2, 20), everyone)

    encoder.train()(*inputs)
    encoder.eval()(*inputs)

    assert [sorted(one.unique().tolist()) for one in seen] == [[0.0, 2.0], [0.0, 2.0], [1.0], [1.0]]
