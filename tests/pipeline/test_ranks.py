"""Many processes, one result: training and embedding under torchrun with 1, 2 and 3 ranks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from pipeline.pack import pack
from tests.pipeline.little_corpus import SMALL, write_little_corpus

ADAM = ("--optim.lr", "0.01", "--optim.eps", "0.01")
"""A large eps: Adam divides a gradient that is nothing but rounding by its own size, which makes steps of rounding errors."""

ROOT = Path(__file__).resolve().parents[2]


def run(ranks: int, module: str, *flags: str) -> None:
    """Run a stage in `ranks` processes with one thread each."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(ranks)] if ranks > 1 else []
    command = [sys.executable, *launcher, "-m", module, *flags]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


OPTIONS = {
    "as it stands": (),
    "every loss": (
        *("--system.image_text", "momentum", "--system.image_text_queue", "30", "--system.memory_batches", "2"),
        *("--system.cyclip_weight", "0.25", "--system.ranking_weight", "1", "--system.cluster_weight", "1"),
    ),
    "tiles in pieces": ("--system.image_text", "plain", "--system.contrast_tile", "5", "--trainer.piece_size", "3", "--trainer.ema_decay", "0.5"),
}


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    pack(write_little_corpus(folder / "corpus", clusters=True), folder / "shards", workers=1, shard_samples=5, vocab_size=200)
    return folder / "shards"


def runs_of(option: str, shards: Path) -> dict[int, Path]:
    """The same three steps by 1, 2 and 3 ranks: folder of each run."""
    folders = {ranks: shards.parent / f"{option.replace(' ', '_')}_{ranks}" for ranks in (1, 2, 3)}
    for ranks, folder in folders.items():
        flags = ("--data", str(shards), "--out", str(folder), *ADAM, "--trainer.max_steps", "3", *OPTIONS[option])
        run(ranks, "pipeline.train", *SMALL, *flags)
    return folders


@pytest.fixture(scope="module")
def runs(shards: Path) -> dict[int, Path]:
    return runs_of("as it stands", shards)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "checkpoints/step-00000003/weights.pt", weights_only=True)


@pytest.mark.parametrize("ranks", [2, 3])
def test_many_ranks_end_with_the_weights_of_one_process_on_the_whole_batch(runs, ranks):
    assert_same_weights(runs[1], runs[ranks])


@pytest.mark.parametrize("option", ["every loss", "tiles in pieces"])
def test_with_every_option_two_and_three_ranks_end_with_the_weights_of_one(option, shards):
    folders = runs_of(option, shards)

    for ranks in (2, 3):
        assert_same_weights(folders[1], folders[ranks])


def assert_same_weights(first: Path, second: Path) -> None:
    one, many = weights(first), weights(second)
    moved = max((one[name] - value).abs().max().item() for name, value in untrained(first).items() if name.startswith("document."))
    apart = max((one[name].float() - many[name]).abs().max().item() for name in one if one[name].numel())

    assert one.keys() == many.keys()
    assert moved > 1e-2  # equality below is not that of runs that stood still
    assert apart < moved / 1000


def untrained(folder: Path) -> dict[str, torch.Tensor]:
    from launch.files import read_json
    from launch.seeds import seed_everything
    from pipeline.recipe import from_dict, module_of

    checkpoint = folder / "checkpoints/step-00000003"
    recipe = from_dict(read_json(checkpoint / "recipe.json"))
    seed_everything(recipe.trainer.seed)
    return module_of(recipe.name).build(recipe, checkpoint / "tokenizer").state_dict()


def test_the_dump_is_the_same_byte_for_byte_from_one_two_and_three_ranks(shards, runs, tmp_path):
    for ranks in (1, 2, 3):
        flags = ["--checkpoint", str(runs[1]), "--shards", str(shards / "train"), "--domain", "video"]
        run(ranks, "pipeline.embed", *flags, "--out", str(tmp_path / str(ranks)))

    files = sorted(path.name for path in (tmp_path / "1").glob("video-*.h5"))
    assert len(files) > 3
    for ranks in (2, 3):
        assert sorted(path.name for path in (tmp_path / str(ranks)).glob("video-*.h5")) == files
        for name in files:
            with h5py.File(tmp_path / "1" / name) as one, h5py.File(tmp_path / str(ranks) / name) as many:
                assert one["embeddings"][:].tobytes() == many["embeddings"][:].tobytes()
                assert one["ids"][:].tolist() == many["ids"][:].tolist()
                assert np.isfinite(one["embeddings"][:]).all()
