"""Batch norm held at its running statistics, and taken over all ranks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from models.batch_norm import SynchronisedBatchNorm, synchronise_batch_norm
from models.encoders import load_vision
from tests.models.batch_norm_on_ranks import batch, net, result
from tests.models.folders import random_frames, save, vision_model

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def mobilenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(vision_model("mobilenet_v2"), tmp_path_factory.mktemp("mobilenet"))


def test_two_ranks_with_unequal_shares_give_what_one_process_gives_on_the_whole_batch(tmp_path: Path) -> None:
    out = tmp_path / "ranks.pt"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = [*torchrun, "-m", "tests.models.batch_norm_on_ranks", str(out)]

    subprocess.run(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True, capture_output=True, timeout=120)

    expected = result(net().train(), *batch(), world_size=1)
    torch.testing.assert_close(torch.load(out, weights_only=True), expected, rtol=1e-4, atol=1e-4)


def test_alone_it_is_torchs_batch_norm_in_training_and_in_evaluation() -> None:
    theirs, ours = net().train(), net().train()
    count = synchronise_batch_norm(ours)
    images, wanted = batch()

    trained = [result(model, images.clone(), wanted, world_size=1) for model in (theirs, ours)]

    assert count == 2 and list(ours.state_dict()) == list(theirs.state_dict())
    torch.testing.assert_close(trained[1], trained[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours.eval()(images), theirs.eval()(images))


def test_batch_norm_of_a_tower_stays_at_its_running_statistics_while_its_gains_learn(mobilenet: Path) -> None:
    encoder = load_vision(mobilenet, dim=4, image_size=32).train()
    before = {name: buffer.clone() for name, buffer in encoder.named_buffers() if "running" in name}

    alone, together = encoder(random_frames(4)[:1]), encoder(random_frames(4))[:1]
    together.sum().backward()

    torch.testing.assert_close(alone, together)
    torch.testing.assert_close({name: buffer for name, buffer in encoder.named_buffers() if "running" in name}, before, rtol=0, atol=0)
    gain = encoder.tower.conv_1x1.normalization.weight
    assert gain.requires_grad and gain.grad is not None


def test_a_synchronised_tower_follows_its_batches_behind_the_frozen_blocks_only(mobilenet: Path) -> None:
    encoder = load_vision(mobilenet, dim=4, image_size=32, frozen_layers=8, batch_norm="synchronised").train()
    norms = {name: module for name, module in encoder.tower.named_modules() if isinstance(module, SynchronisedBatchNorm)}
    before = {name: norm.running_var.clone() for name, norm in norms.items()}

    encoder(random_frames(4)).sum().backward()

    moved = {name for name, norm in norms.items() if not torch.equal(norm.running_var, before[name])}
    assert moved == {name for name in norms if name.startswith("conv_1x1") or (name.startswith("layer.") and int(name.split(".")[1]) >= 8)}
    assert not any(isinstance(module, nn.BatchNorm2d) for module in encoder.modules())
    assert norms["conv_1x1.normalization"].momentum == pytest.approx(0.003)
    again = type(encoder).from_description(encoder.describe())
    again.load_state_dict(encoder.state_dict())


def test_another_batch_norm_mode_is_refused(mobilenet: Path) -> None:
    with pytest.raises(ValueError, match="batch_norm 'sync': choose one of frozen, synchronised"):
        load_vision(mobilenet, dim=4, image_size=32, batch_norm="sync")  # type: ignore[arg-type]
