"""A run goes on with other ranks and workers in the middle of an epoch, and under torchrun by itself when a rank is killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch

from launch.files import read_json
from pipeline.checkpoint import CheckpointFolder
from pipeline.pack import pack
from tests.pipeline.commands_on_ranks import ROOT
from tests.pipeline.counted import BATCH, count
from tests.pipeline.killed_rank import STEP
from tests.pipeline.little_corpus import SMALL, write_little_corpus

RUN = (
    *SMALL,
    *("--system.image_text", "momentum", "--system.image_text_queue", "30", "--system.dropout", "0.1", "--stream.workers", "1"),
    *("--trainer.max_steps", "7", "--trainer.checkpoint_every", "4", "--trainer.log_every", "3"),
)


def commands_for(folder: Path) -> dict[int, list[list[str]]]:
    """2 ranks: a run to its end, and the first three steps of `counted`; 3 ranks: its next two."""
    pack(write_little_corpus(folder / "corpus", products=12), folder / "shards", workers=1, shard_samples=5, vocab_size=200)
    train = [str(folder / "shards/train"), str(folder / "counted")]
    counted = {2: ["3", "2"], 3: ["5", "1"]}
    commands = {ranks: [["tests.pipeline.counted", *train, *flags]] for ranks, flags in counted.items()}
    commands[2].append(["pipeline.train", *RUN, "--data", str(folder / "shards"), "--out", str(folder / "straight")])
    return {1: [], **commands}


@pytest.fixture
def folder(ran: dict[str, Path]) -> Path:
    return ran[__name__]


def seen(run: Path, ranks: int) -> list[list[str]]:
    """The items of each global batch that so many ranks took together, in order."""
    parts = [(run / f"seen/seen-{rank}-of-{ranks}.jsonl").read_text().splitlines() for rank in range(ranks)]
    assert len({len(lines) for lines in parts}) == 1  # as many steps on every rank
    return [[item for line in lines for item in json.loads(line)] for lines in zip(*parts)]


def test_two_ranks_then_three_then_one_see_every_item_of_the_epoch_once(folder: Path) -> None:
    run, shards = folder / "counted", folder / "shards/train"
    state = read_json(CheckpointFolder(run).latest() / "state.json")  # type: ignore[operator]
    assert (state["step"], state["epoch"], state["batch"]) == (5, 0, 5)  # in the middle of the epoch

    count(shards, run, steps=8, workers=0)
    count(shards, folder / "alone", steps=8, workers=0)

    batches = [*seen(run, 2), *seen(run, 3), *seen(run, 1)]
    items = Counter(item for batch in batches for item in batch)
    assert [len(batch) for batch in batches] == [BATCH] * 8
    assert set(items) == {f"g{product}" for product in range(12)} | {f"v{product}{clip}" for product in range(12) for clip in range(3)}
    assert set(items.values()) == {1}
    assert batches == seen(folder / "alone", 1)


def test_a_rank_that_is_new_draws_random_numbers_of_its_own(folder: Path) -> None:
    random = torch.load(folder / "counted/checkpoints/step-00000005/training.pt", weights_only=True)["random"]

    assert len({state["cpu"].numpy().tobytes() for state in random}) == 3


def test_torchrun_starts_a_run_again_by_itself_when_a_rank_is_killed_and_it_ends_as_if_nothing_had_happened(folder: Path, tmp_path: Path) -> None:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "--max-restarts", "3"]
    command = ["-m", "tests.pipeline.killed_rank", str(tmp_path / "mark"), *RUN, "--data", str(folder / "shards"), "--out", str(tmp_path / "run")]

    done = subprocess.run(
        [sys.executable, *launcher, *command], cwd=ROOT, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=300
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "mark").exists() and STEP > 4
    assert f"going on from {tmp_path}/run/checkpoints/step-00000004 (step 4)" in done.stdout
    straight, again = folder / "straight", tmp_path / "run"
    one, other = (torch.load(run / "checkpoints/step-00000007/weights.pt", weights_only=True) for run in (straight, again))
    assert all(torch.equal(one[name], other[name]) for name in one)
    losses = [[(line["step"], line["loss"]) for line in map(json.loads, (run / "log.jsonl").read_text().splitlines())] for run in (straight, again)]
    assert losses[0] == losses[1] and [step for step, _ in losses[0]] == [3, 6]
