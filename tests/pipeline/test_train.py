"""The training command, run in this process on a corpus that takes a moment."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
import torch

from launch.files import read_json
from pipeline import train as train_module
from pipeline.checkpoint import find_checkpoint, load_checkpoint
from pipeline.pack import pack
from pipeline.recipes.qcd.system import QCD
from pipeline.training import trainer as trainer_module
from pipeline.training.step import Step
from pipeline.training.validation import better
from tests.pipeline.little_corpus import SMALL, write_little_corpus
from tests.pipeline.little_run import weights


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("train")
    pack(write_little_corpus(folder / "corpus"), folder / "shards", workers=1, vocab_size=200)
    return folder / "shards"


def train(shards: Path, out: Path, *flags: str) -> None:
    train_module.main([*SMALL, "--data", str(shards), "--out", str(out), *flags])


def losses(out: Path) -> list[tuple[int, float]]:
    return [(line["step"], line["loss"]) for line in map(json.loads, (out / "log.jsonl").read_text().splitlines()) if "loss" in line]


def test_a_run_that_stopped_goes_on_as_if_nothing_had_happened(shards, tmp_path):
    dropout = ("--system.dropout", "0.1", "--optim.schedule", "constant")

    train(shards, tmp_path / "straight", "--trainer.max_steps", "6", *dropout)
    train(shards, tmp_path / "halted", "--trainer.max_steps", "4", *dropout)
    train(shards, tmp_path / "halted", "--trainer.max_steps", "6", *dropout)

    straight, halted = weights(tmp_path / "straight", 6), weights(tmp_path / "halted", 6)
    assert all(torch.equal(straight[name], halted[name]) for name in straight)
    assert losses(tmp_path / "straight") == losses(tmp_path / "halted")
    assert [step for step, _ in losses(tmp_path / "halted")] == [1, 2, 3, 4, 5, 6]


def test_training_brings_the_loss_down(shards, tmp_path):
    train(shards, tmp_path, "--trainer.max_steps", "40", "--optim.lr", "0.003", "--optim.schedule", "constant")

    found = [loss for _, loss in losses(tmp_path)]
    assert sum(found[-5:]) < 0.7 * sum(found[:5])


def test_accumulated_forwards_take_as_many_batches_and_fewer_steps(shards, tmp_path):
    train(shards, tmp_path, "--trainer.max_steps", "2", "--trainer.accumulate", "2", "--stream.policy", "document")

    assert read_json(find_checkpoint(tmp_path) / "state.json")["batch"] + 5 * read_json(find_checkpoint(tmp_path) / "state.json")["epoch"] >= 3
    assert [step for step, _ in losses(tmp_path)] == [1, 2]


def test_a_run_of_other_settings_is_not_gone_on_with(shards, tmp_path):
    train(shards, tmp_path, "--trainer.max_steps", "1")

    with pytest.raises(ValueError, match=r"stream.batch_size was 12, now 6.*another --out"):
        train(shards, tmp_path, "--trainer.max_steps", "2", "--stream.batch_size", "6")


def test_init_starts_a_new_run_from_other_weights(shards, tmp_path):
    train(shards, tmp_path / "first", "--trainer.max_steps", "3", "--optim.lr", "0.01")
    train(shards, tmp_path / "second", "--trainer.max_steps", "1", "--optim.lr", "1e-9", "--init", str(tmp_path / "first"))

    first, second = weights(tmp_path / "first", 3), weights(tmp_path / "second", 1)
    assert all(torch.allclose(first[name], second[name], atol=1e-6) for name in first)


def test_only_the_newest_checkpoints_are_kept_and_latest_names_the_last(shards, tmp_path):
    train(shards, tmp_path, "--trainer.max_steps", "4", "--trainer.checkpoint_every", "1", "--trainer.keep", "2")

    folder = tmp_path / "checkpoints"
    assert sorted(path.name for path in folder.iterdir()) == ["latest", "step-00000003", "step-00000004"]
    assert find_checkpoint(tmp_path) == folder / "step-00000004"


def test_validation_recall_is_logged_and_names_the_best_checkpoint(tmp_path):
    corpus = write_little_corpus(tmp_path / "corpus", products=12)

    flags = ("--packing.holdout_videos", "12", "--trainer.max_steps", "4", "--trainer.validate_every", "2", "--trainer.keep", "1")
    train_module.main([*SMALL, "--data", str(corpus), "--out", str(tmp_path / "run"), *flags])

    lines = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    seen = {line["step"]: line["validation/video2goods/recall@10"] for line in lines if "validation/video2goods/recall@10" in line}
    assert set(seen) == {2, 4}
    best = max(seen, key=lambda step: (seen[step], step))
    assert find_checkpoint(tmp_path / "run").name == f"step-{best:08d}"
    assert read_json(tmp_path / "run/shards/val/manifest.json")["counts"] == {"goods": 12, "query": 14, "video": 12}


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_weights_before_it(shards, tmp_path, monkeypatch):
    forward = QCD.forward

    def broken(self, batch):
        terms = forward(self, batch)
        broken.calls += 1
        return terms | {"fusion": terms["fusion"] * (float("nan") if broken.calls == 3 else 1)}

    broken.calls = 0
    monkeypatch.setattr(QCD, "forward", broken)

    with pytest.raises(ValueError, match=r"loss is not finite at step 2: \{'fusion': nan"):
        train(shards, tmp_path, "--trainer.max_steps", "5")

    assert all(value.isfinite().all() for value in weights(tmp_path, 2).values())


def test_sigterm_writes_a_checkpoint_and_leaves_with_a_code_that_says_try_again(shards, tmp_path, monkeypatch):
    take = Step.__call__

    def interrupted(self, batches):
        interrupted.calls += 1
        if interrupted.calls == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return take(self, batches)

    interrupted.calls = 0
    monkeypatch.setattr(Step, "__call__", interrupted)

    with pytest.raises(SystemExit) as left:
        train(shards, tmp_path, "--trainer.max_steps", "5")

    assert left.value.code == trainer_module.EXIT_PREEMPTED
    assert find_checkpoint(tmp_path).name == "step-00000002"


def test_a_checkpoint_needs_nothing_but_itself(shards, tmp_path):
    train(shards, tmp_path / "run", "--trainer.max_steps", "1")
    (tmp_path / "run/checkpoints/step-00000001").rename(tmp_path / "alone")

    loaded = load_checkpoint(tmp_path / "alone")

    assert loaded.state.step == 1
    assert loaded.recipe.system.dim == 32
    assert loaded.system.preparation(training=False).collate


def test_weights_that_were_changed_after_writing_are_refused(shards, tmp_path):
    train(shards, tmp_path, "--trainer.max_steps", "1")
    with open(tmp_path / "checkpoints/step-00000001/weights.pt", "ab") as file:
        file.write(b"x")

    with pytest.raises(ValueError, match="checksum differs"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--recipe", "qcd:huge"), "real, released, english, smoke, photos"),
        (("--encoders.vision", "nowhere/vit"), r"--encoders.vision nowhere/vit: no such folder; fetch one first"),
        (("--optim.factors", '{"eyes": 1}'), "the parts of this system are text, vision"),
        (("--trainer.precision", "fp16"), "fp16 needs a GPU"),
        (("--trainer.ema_decay", "1.5"), "a share between 0 and 1"),
        (("--init", "nowhere"), "nowhere: no such folder"),
    ],
)
def test_a_mistake_is_named(shards, tmp_path, flags, message):
    with pytest.raises(ValueError, match=message):
        train(shards, tmp_path, "--trainer.max_steps", "1", *flags)


def test_of_equals_the_next_metric_decides_and_then_the_one_trained_longer():
    names = ("v/median_rank", "v/recall@10")
    best = {"v/median_rank": 3.0, "v/recall@10": 0.5}

    assert better(names, {"v/median_rank": 2.0, "v/recall@10": 0.1}, best)
    assert better(names, {"v/median_rank": 3.0, "v/recall@10": 0.6}, best)
    assert better(names, best, best)
    assert not better(names, {"v/median_rank": 3.0, "v/recall@10": 0.4}, best)
    assert not better(names, {"v/median_rank": 4.0, "v/recall@10": 0.9}, best)
