"""What needs a card: training in every precision, compiled, in pieces, over NCCL. README says how to run these; searches are in tests/evaluate."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from launch.files import read_json
from losses.tiled_contrast import TiledContrast
from models.encoders.scratch import scratch_vision
from models.momentum.momentum_copy import MomentumCopy
from pipeline import train as train_module
from pipeline.checkpoint import find_checkpoint
from pipeline.pack import pack
from tests.pipeline.little_corpus import SMALL, write_little_corpus

pytestmark = pytest.mark.gpu
ROOT = Path(__file__).resolve().parents[2]
STEADY = ("--optim.schedule", "constant", "--optim.eps", "0.01")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gpu")
    pack(write_little_corpus(folder / "corpus"), folder / "shards", workers=1, vocab_size=200)
    return folder / "shards"


def train(shards: Path, out: Path, device: str, *flags: str) -> list[float]:
    """The losses of four steps."""
    train_module.main([*SMALL, *STEADY, "--data", str(shards), "--out", str(out), "--device", device, "--trainer.max_steps", "4", *flags])
    return [json.loads(line)["loss"] for line in (out / "log.jsonl").read_text().splitlines()]


def test_a_card_trains_as_the_processor_does(shards: Path, tmp_path: Path) -> None:
    assert train(shards, tmp_path / "gpu", "cuda") == pytest.approx(train(shards, tmp_path / "cpu", "cpu"), rel=5e-3)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_trains_near_full(precision: str, shards: Path, tmp_path: Path) -> None:
    if precision == "bf16" and torch.cuda.get_device_capability()[0] < 8:
        pytest.skip("this card has no bf16")

    half = train(shards, tmp_path / "half", "cuda", "--trainer.precision", precision)

    assert half == pytest.approx(train(shards, tmp_path / "full", "cuda"), rel=0.05)
    training = torch.load(find_checkpoint(tmp_path / "half") / "training.pt", weights_only=True)
    assert bool(training["scaler"]) == (precision == "fp16")


def test_an_fp16_run_that_stopped_goes_on_with_its_loss_scale(shards: Path, tmp_path: Path) -> None:
    flags = ("--trainer.precision", "fp16", "--system.dropout", "0.1")
    straight = train(shards, tmp_path / "straight", "cuda", *flags)

    train(shards, tmp_path / "halted", "cuda", *flags, "--trainer.max_steps", "2")
    halted = train(shards, tmp_path / "halted", "cuda", *flags)

    assert halted == pytest.approx(straight, rel=1e-3)
    states = [torch.load(find_checkpoint(tmp_path / name) / "training.pt", weights_only=True)["scaler"] for name in ("straight", "halted")]
    assert states[0] == states[1]


OTHER_WAYS = [("--trainer.compile", "inductor"), ("--trainer.piece_size", "5"), ("--system.contrast_tile", "5")]


@pytest.mark.parametrize("flags", OTHER_WAYS, ids=lambda flags: flags[0])
def test_other_ways_to_the_same_step_give_the_same_losses(flags: tuple[str, ...], shards: Path, tmp_path: Path) -> None:
    plain = train(shards, tmp_path / "plain", "cuda")

    assert train(shards, tmp_path / "other", "cuda", *flags) == pytest.approx(plain, rel=5e-3)


def test_nccl_ranks_train_as_one(shards: Path, tmp_path: Path) -> None:
    ranks = min(2, torch.cuda.device_count())
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(ranks), "-m", "pipeline.train"]
    flags = [*SMALL, *STEADY, "--data", str(shards), "--out", str(tmp_path / "many"), "--device", "cuda", "--trainer.max_steps", "4"]

    done = subprocess.run([sys.executable, *launcher, *flags], cwd=ROOT, capture_output=True, text=True, env={**os.environ}, timeout=300)

    assert done.returncode == 0, done.stderr
    many = [json.loads(line)["loss"] for line in (tmp_path / "many/log.jsonl").read_text().splitlines()]
    assert many == pytest.approx(train(shards, tmp_path / "one", "cuda"), rel=5e-3)
    assert read_json(find_checkpoint(tmp_path / "many") / "state.json")["step"] == 4


def test_the_tiled_contrast_is_that_of_the_processor() -> None:
    torch.manual_seed(0)
    query, candidates, own = torch.randn(40, 16), torch.randn(40, 16), torch.arange(40)
    contrast = TiledContrast(tile=7)

    def gradients(device: str) -> list[Any]:
        pair = [side.to(device).requires_grad_() for side in (query, candidates)]
        contrast(*pair, own.to(device)).backward()
        return [side.grad.cpu() for side in pair]

    for ours, theirs in zip(gradients("cuda"), gradients("cpu")):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def test_a_slow_copy_shares_frozen_weights_after_the_move() -> None:
    encoder = scratch_vision(8, size="tiny")
    encoder.tower.requires_grad_(False)
    both = torch.nn.ModuleDict({"live": encoder, "slow": MomentumCopy(encoder)}).to("cuda")

    frozen = next(iter(both["live"].tower.parameters()))
    assert frozen.device.type == "cuda" and next(iter(both["slow"].copy.tower.parameters())) is frozen
