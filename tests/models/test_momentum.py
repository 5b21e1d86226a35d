"""A copy that follows its source."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from torch import Tensor, nn

from models.batch_norm import SynchronisedBatchNorm
from models.encoders import TextEncoder
from models.encoders.feature_memory import FeatureMemory
from models.encoders.scratch import scratch_text, scratch_vision
from models.momentum.momentum_copy import MomentumCopy
from tests.models.folders import random_frames

IDS = torch.tensor([[2, 7, 9, 3], [2, 8, 3, 0]])
MASK = (IDS != 0).long()


def filled(value: float) -> nn.Linear:
    layer = nn.Linear(2, 3)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.fill_(value)
    return layer


def frozen_text() -> TextEncoder:
    torch.manual_seed(0)
    return TextEncoder(scratch_text(8, 50, dropout=0.5).tower, dim=8, pooling="mean", frozen_layers="all")


def half_frozen_text() -> TextEncoder:
    torch.manual_seed(0)
    return TextEncoder(scratch_text(8, 50, dropout=0.5).tower, dim=8, pooling="mean", frozen_layers=1)


def move(module: nn.Module) -> None:
    """Change what a step of an optimiser would."""
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter))


def saved(module: nn.Module) -> bytes:
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    return file.getvalue()


def test_parameters_follow_by_a_quarter_of_the_way_each_update() -> None:
    source = filled(0.0)
    momentum = MomentumCopy(source, momentum=0.75)
    with torch.no_grad():
        source.weight.fill_(16.0)
        source.bias.fill_(-4.0)

    seen = []
    for _ in range(3):
        momentum.update(source)
        seen.append([parameter.unique().tolist() for parameter in momentum.parameters()])

    assert seen == [[[4.0], [-1.0]], [[7.0], [-1.75]], [[9.25], [-2.3125]]]
    assert source.weight.unique().tolist() == [16.0]


def test_the_copy_begins_as_the_source_and_stays_there_while_the_source_does() -> None:
    torch.manual_seed(0)
    source = nn.Linear(5, 7)
    momentum = MomentumCopy(source)

    momentum.update(source)

    assert torch.equal(momentum.copy.weight, source.weight) and momentum.copy.weight is not source.weight
    assert momentum.momentum == 0.995


def test_a_copy_that_is_restarted_is_the_source_again() -> None:
    source = SynchronisedBatchNorm(nn.BatchNorm1d(2))
    momentum = MomentumCopy(source)
    move(source)
    source(torch.randn(4, 2))

    momentum.restart(source)

    assert all(torch.equal(value, momentum.copy.state_dict()[name]) for name, value in source.state_dict().items())
    assert momentum.copy.weight is not source.weight and not torch.equal(source.weight, torch.ones(2))


def test_running_statistics_are_the_sources_after_an_update_and_no_forward_of_the_copy_changes_them() -> None:
    source = SynchronisedBatchNorm(nn.BatchNorm1d(2))
    momentum = MomentumCopy(source)
    source(torch.tensor([[1.0, 10.0], [3.0, 30.0]]))

    momentum.update(source)
    momentum(torch.tensor([[100.0, 100.0], [300.0, 300.0]]))

    torch.testing.assert_close(momentum.copy.running_mean, torch.tensor([0.2, 2.0]))
    assert momentum.copy.num_batches_tracked.item() == source.num_batches_tracked.item() == 1
    assert momentum.copy.running_mean is not source.running_mean


def test_the_copy_is_in_eval_mode_and_gives_no_gradient_and_has_none_while_the_source_trains() -> None:
    source = scratch_text(8, 50, dropout=0.5)
    both = nn.ModuleDict({"source": source, "momentum": MomentumCopy(source)})

    both.train()
    first, again, trained = both["momentum"](IDS, MASK), both["momentum"](IDS, MASK), source(IDS, MASK)
    (first * trained).sum().backward()

    assert torch.equal(first, again) and not first.requires_grad
    assert source.training and not any(module.training for module in both["momentum"].modules())
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in both["momentum"].parameters())
    assert source.projection.weight.grad is not None and source.projection.weight.requires_grad


def test_no_gradient_goes_through_the_copy_to_what_it_is_given() -> None:
    features = torch.ones(1, 2, requires_grad=True)

    assert not MomentumCopy(filled(1.0))(features).requires_grad


def test_the_source_is_no_part_of_the_copy() -> None:
    source = scratch_text(8, 50)
    momentum = MomentumCopy(source)

    held = {id(module) for module in momentum.modules()} | {id(parameter) for parameter in momentum.parameters()}

    assert not held & ({id(module) for module in source.modules()} | {id(parameter) for parameter in source.parameters()})
    assert set(momentum.state_dict()) == {f"copy.{name}" for name in source.state_dict()}


@pytest.mark.parametrize("make", [frozen_text, half_frozen_text])
def test_what_is_frozen_is_shared_and_only_the_rest_is_copied(make) -> None:
    source = make()
    momentum = MomentumCopy(source)
    written = {name: parameter._version for name, parameter in source.named_parameters()}

    momentum.update(source)
    pairs = list(zip(source.named_parameters(), momentum.copy.parameters(), strict=True))

    assert any(parameter.requires_grad for (_, parameter), _ in pairs) and not all(parameter.requires_grad for (_, parameter), _ in pairs)
    assert all((own is parameter) == (not parameter.requires_grad) for (_, parameter), own in pairs)
    assert {name: parameter._version for name, parameter in source.named_parameters()} == written  # an update leaves the shared ones alone
    assert not {id(module) for module in source.modules()} & {id(module) for module in momentum.modules()}


def test_a_checkpoint_holds_shared_parameters_once() -> None:
    source = frozen_text()
    alone = len(saved(source))
    momentum = MomentumCopy(source)
    own = sum(parameter.numel() for parameter in source.parameters() if parameter.requires_grad) + sum(b.numel() for b in source.buffers())

    together = len(saved(nn.ModuleDict({"source": source, "momentum": momentum})))

    names = 400 * len(source.state_dict())  # of a key and of a storage's place in the file
    assert alone > 500_000 and together < alone + 8 * own + names < 1.1 * alone


def test_a_checkpoint_of_both_goes_on_exactly_where_the_run_was() -> None:
    torch.manual_seed(0)

    def run(seed: int) -> nn.ModuleDict:
        torch.manual_seed(seed)
        source = half_frozen_text()
        return nn.ModuleDict({"source": source, "momentum": MomentumCopy(source, 0.9)})

    first, second = run(1), run(2)
    move(first["source"])
    first["momentum"].update(first["source"])
    move(second["source"])
    second.load_state_dict(torch.load(io.BytesIO(saved(first)), weights_only=True))
    for system in (first, second):
        torch.manual_seed(5)
        move(system["source"])
        system["momentum"].update(system["source"])

    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name
    assert torch.equal(first["momentum"](IDS, MASK), second["momentum"](IDS, MASK))
    assert not torch.equal(first["momentum"](IDS, MASK), first["source"].eval()(IDS, MASK))


def test_a_part_that_an_optimiser_freezes_later_is_a_copy_that_stays_equal() -> None:
    source = filled(2.0)
    momentum = MomentumCopy(source)

    source.requires_grad_(False)
    momentum.update(source)

    assert momentum.copy.weight is not source.weight and torch.equal(momentum.copy.weight, source.weight)


def test_remembered_features_of_a_frozen_tower_serve_both() -> None:
    source = frozen_text()
    source.remember_features(1)
    assert isinstance(source._memory, FeatureMemory)
    source(IDS, MASK)
    momentum = MomentumCopy(source)
    asked: list[Tensor] = []
    momentum.copy.tower.register_forward_pre_hook(lambda module, inputs: asked.append(inputs))

    seen = momentum(IDS, MASK)

    assert momentum.copy._memory is source._memory and asked == []
    assert torch.equal(seen, source(IDS, MASK))


def test_a_vision_encoder_with_checkpointed_gradients_in_channels_last_order_is_copied_whole() -> None:
    torch.manual_seed(0)
    source = scratch_vision(8, size="tiny", image_size=32).use_channels_last()
    source.checkpoint_gradients()
    momentum = MomentumCopy(source, 0.5)
    before = [parameter.detach().clone() for parameter in source.parameters()]
    frames = random_frames(2)
    torch.testing.assert_close(momentum(frames), source.eval()(frames).detach())

    move(source)
    momentum.update(source)

    halfway = [(old + new) / 2 for old, new in zip(before, source.parameters())]
    torch.testing.assert_close(list(momentum.copy.parameters()), halfway, check_stride=False)


def test_a_copy_of_the_whole_shares_within_itself() -> None:
    source = frozen_text()
    both = nn.ModuleDict({"source": source, "momentum": MomentumCopy(source)})

    again = copy.deepcopy(both).to(torch.float64)

    shared = [own is other for own, other in zip(again["momentum"].copy.parameters(), again["source"].parameters(), strict=True)]
    assert shared == [not parameter.requires_grad for parameter in source.parameters()]
    assert not {id(parameter) for parameter in again.parameters()} & {id(parameter) for parameter in both.parameters()}


def test_a_source_without_parameters_to_train_has_nothing_to_follow() -> None:
    source = filled(1.0).requires_grad_(False)
    momentum = MomentumCopy(source)

    momentum.update(source)

    assert momentum.copy.weight is source.weight and source.weight.unique().tolist() == [1.0]


def test_another_module_than_the_source_is_not_followed() -> None:
    with pytest.raises(ValueError):
        MomentumCopy(nn.Linear(2, 2)).update(nn.Linear(2, 2, bias=False))


@pytest.mark.parametrize("momentum", [-0.1, 1.0, float("nan")])
def test_a_share_that_is_none_is_refused(momentum: float) -> None:
    with pytest.raises(ValueError, match=f"momentum {momentum}"):
        MomentumCopy(filled(0.0), momentum)


def test_a_copy_with_batch_statistics_normalises_by_its_own_batches_and_counts_its_own() -> None:
    torch.manual_seed(0)
    source = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Dropout(0.5))
    momentum = MomentumCopy(source, momentum=0.5, batch_statistics=True)
    rows = 5 + torch.randn(8, 2)

    found = momentum.train()(rows)
    source[1].running_mean.fill_(9.0)
    momentum.update(source)

    normalised = nn.functional.batch_norm(momentum.copy[0](rows), None, None, training=True)
    torch.testing.assert_close(found, normalised)  # dropout stays off
    torch.testing.assert_close(momentum.copy[1].running_mean, 0.1 * momentum.copy[0](rows).mean(dim=0))
    momentum.restart(source)
    assert momentum.copy[1].running_mean.tolist() == [9.0, 9.0]
    assert not any(module.training for module in momentum.eval().modules())
