"""Pre-training under torchrun: 2 and 3 ranks end with the weights of one process on the whole batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pipeline.pack import pack
from pipeline.shards import ShardSet
from tests.pipeline.exchange_on_ranks import PLACES, ROWS
from tests.pipeline.little_pretraining import new_system, pretrain, recipe, write_categorised_corpus

ROOT = Path(__file__).resolve().parents[2]


def run(ranks: int, module: str, *arguments: str) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(ranks), "-m", module, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def test_rows_are_fetched_from_whoever_holds_them_and_their_gradients_go_back_there(tmp_path: Path) -> None:
    run(3, "tests.pipeline.exchange_on_ranks", str(tmp_path / "out.json"))

    found = json.loads((tmp_path / "out.json").read_text())
    assert found["numbers"] == PLACES.tolist()
    assert found["fetched"] == ROWS[PLACES].tolist()
    taken = {0: 10.0 + 100.0, 3: 1e3, 5: 1.0 + 1e4 + 1e5}
    assert found["gradient"] == [[taken.get(row, 0.0), 0.0] for row in range(6)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """The same three steps by 1, 2 and 3 ranks, with all terms: folder of each run; at 0 the prompter."""
    folder = tmp_path_factory.mktemp("ranks")
    pack(write_categorised_corpus(folder / "corpus"), folder / "shards", workers=1, shard_samples=5, vocab_size=200)
    train = folder / "shards/train"
    pretrain(recipe(1, matching_weight=0.0, masking_weight=0.0), ShardSet(train), folder / "run0")
    pretrain(recipe(3, prompter=str(folder / "run0")), ShardSet(train), folder / "run1")
    for ranks in (2, 3):
        run(ranks, "tests.pipeline.little_pretraining", str(train), str(folder / f"run{ranks}"), "3", str(folder / "run0"))
    return {ranks: folder / f"run{ranks}" for ranks in range(4)}


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "checkpoints/step-00000003/weights.pt", weights_only=True)


@pytest.mark.parametrize("ranks", [2, 3])
def test_many_ranks_end_with_the_weights_of_one_process_on_the_whole_batch(runs: dict[int, Path], ranks: int) -> None:
    one, many = weights(runs[1]), weights(runs[ranks])
    untrained = new_system(recipe(3, prompter=str(runs[0])), ShardSet(runs[0].parent / "shards/train")).state_dict()

    moved = max((one[name] - value).abs().max().item() for name, value in untrained.items())
    apart = max((one[name] - many[name]).abs().max().item() for name in one)

    assert one.keys() == many.keys() == untrained.keys()
    assert moved > 1e-2  # equality below is not that of runs that stood still
    assert apart < moved / 1000


@pytest.mark.parametrize("ranks", [2, 3])
def test_many_ranks_log_the_terms_of_one_process(runs: dict[int, Path], ranks: int) -> None:
    one, many = ([json.loads(line) for line in (runs[number] / "log.jsonl").read_text().splitlines()] for number in (1, ranks))

    names = ("vtc", "vtm", "mlm", "entities_1", "entities_2", "entities_3")
    assert len(one) == len(many) == 3
    for line, other in zip(one, many):
        assert [other[name] for name in names] == pytest.approx([line[name] for name in names], rel=1e-4)
