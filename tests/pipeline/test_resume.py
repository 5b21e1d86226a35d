"""Runs that are killed at awkward moments and started again end as if nothing had happened, to the bit."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from benchmarks.faults import content
from pipeline import train as train_module
from pipeline.pack import pack
from pipeline.shards import ShardSet
from tests.pipeline import little_pairs
from tests.pipeline.killed import killed
from tests.pipeline.little_corpus import SMALL, write_little_corpus

EVERYTHING = (
    *("--system.image_text", "momentum", "--system.image_text_queue", "30", "--system.memory_batches", "2", "--system.dropout", "0.1"),
    *("--optim.warmup_steps", "3", "--trainer.ema_decay", "0.5", "--trainer.accumulate", "2"),
    *("--trainer.max_steps", "6", "--trainer.checkpoint_every", "2", "--trainer.log_every", "3", "--trainer.validate_every", "5"),
    *("--trainer.best_metric", "ema/video2goods/mrr", "--evaluation.tasks", '["video2goods"]'),
)
"""Queues, memory, dropout, warm-up and cosine, slow average, accumulation, and a log whose lines do not fall on checkpoints."""
IN_A_STEP = ("pipeline.training.step:Step.__call__", 4)
WRITING = ("torch:save", 5)
BEFORE_ITS_NAME = ("pipeline.checkpoint.folder:CheckpointFolder._point", 2)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("resume")
    pack(write_little_corpus(folder / "corpus"), folder / "shards", workers=1, vocab_size=200, holdout_videos=6)
    return folder / "shards"


def train(shards: Path, out: Path, workers: int) -> None:
    train_module.main([*SMALL, *EVERYTHING, "--data", str(shards), "--out", str(out), "--stream.workers", str(workers)])


@pytest.fixture(scope="module")
def undisturbed(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    out = tmp_path_factory.mktemp("undisturbed")
    train(shards, out, workers=0)
    return content(out)


def test_a_run_killed_between_a_checkpoint_and_its_name_ends_with_the_same_weights_logs_and_checkpoints(shards, undisturbed, tmp_path, capsys):
    killed(*BEFORE_ITS_NAME, train, shards, tmp_path, 0)
    assert (tmp_path / "checkpoints/latest").read_text() == "step-00000002\n"

    train(shards, tmp_path, workers=0)

    assert "latest does not name the newest whole checkpoint; it names step-00000004 now" in capsys.readouterr().out
    assert content(tmp_path) == undisturbed


def test_a_run_of_two_loading_processes_killed_while_it_writes_ends_with_what_one_without_them_does(shards, undisturbed, tmp_path):
    killed(*WRITING, train, shards, tmp_path, 2)
    left = [path.name for path in (tmp_path / "checkpoints").iterdir()]
    assert any(name.startswith(".step-") for name in left)

    train(shards, tmp_path, workers=2)

    def numbers(found: dict[str, str]) -> dict[str, str]:  # all but what says how many processes there were
        return {name: digest for name, digest in found.items() if not name.endswith("recipe.json") and not name.startswith("validation/")}

    assert numbers(content(tmp_path)) == numbers(undisturbed)
    assert not [path.name for path in (tmp_path / "checkpoints").iterdir() if path.name.startswith(".")]


def train_pairs(shards: Path, out: Path) -> None:
    recipe = little_pairs.recipe(6, trainer={"checkpoint_every": 2, "keep": 1}, queue_size=2, empty_slots="random")
    recipe = dataclasses.replace(recipe, stream=dataclasses.replace(recipe.stream, batch_size=6))
    little_pairs.train(recipe, ShardSet(shards), out)


def test_a_run_killed_in_a_step_has_its_queues_of_categories_and_no_line_twice(tmp_path):
    shards = little_pairs.packed_pairs(tmp_path) / "train"
    train_pairs(shards, tmp_path / "straight")

    killed(*IN_A_STEP, train_pairs, shards, tmp_path / "killed")
    train_pairs(shards, tmp_path / "killed")

    straight, again = (torch.load(tmp_path / run / "checkpoints/step-00000006/weights.pt", weights_only=True) for run in ("straight", "killed"))
    assert straight["queues.filled"].any() and straight["queues.pointer"].any()
    assert all(torch.equal(straight[name], again[name]) for name in straight)
    assert content(tmp_path / "killed") == content(tmp_path / "straight")  # losses too, as TensorBoard and log.jsonl have them
