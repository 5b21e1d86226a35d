"""Many processes, one result: training, embedding and evaluating under torchrun with 1, 2 and 3 ranks."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from launch.files import read_json
from launch.seeds import seed_everything
from pipeline.pack import pack
from pipeline.recipe import from_dict, module_of
from tests.pipeline.little_corpus import SMALL, write_little_corpus
from tests.pipeline.little_run import weights

ADAM = ("--optim.lr", "0.01", "--optim.eps", "0.01")
"""A large eps: Adam divides a gradient that is nothing but rounding by its own size, which makes steps of rounding errors."""

OPTIONS = {
    "as it stands": (),
    "every loss": (
        *("--system.image_text", "momentum", "--system.image_text_queue", "30", "--system.memory_batches", "2"),
        *("--system.cyclip_weight", "0.25", "--system.ranking_weight", "1", "--system.cluster_weight", "1"),
    ),
    "tiles in pieces": ("--system.image_text", "plain", "--system.contrast_tile", "5", "--trainer.piece_size", "3", "--trainer.ema_decay", "0.5"),
}


def commands_for(folder: Path) -> dict[int, list[list[str]]]:
    """For R of 1, 2, 3 ranks: R/<option> is a run of three steps; of the one process's first run R/dump are the clips, R/evaluated the results."""
    shards, commands = folder / "shards", {}
    pack(write_little_corpus(folder / "corpus", clusters=True), shards, workers=1, shard_samples=5, vocab_size=200)
    for ranks in (1, 2, 3):
        out = folder / str(ranks)
        trainings = [
            ["pipeline.train", *SMALL, "--data", str(shards), "--out", str(out / option), *ADAM, "--trainer.max_steps", "3", *flags]
            for option, flags in OPTIONS.items()
        ]
        embedding = ["pipeline.embed", "--checkpoint", str(folder / "1/as it stands"), "--shards", str(shards / "train"), "--domain", "video"]
        evaluation = ["pipeline.retrieve", "--task", "video2goods", "--checkpoint", str(folder / "1/as it stands"), "--data", str(shards)]
        evaluation += ["--workers", "0", "--shown", "0", "--out", str(out / "evaluated")]
        commands[ranks] = [*trainings, [*embedding, "--out", str(out / "dump")], evaluation]
    return commands


@pytest.fixture
def folder(ran: dict[str, Path]) -> Path:
    return ran[__name__]


def untrained(run: Path) -> dict[str, torch.Tensor]:
    checkpoint = run / "checkpoints/step-00000003"
    recipe = from_dict(read_json(checkpoint / "recipe.json"))
    seed_everything(recipe.trainer.seed)
    return module_of(recipe.name).build(recipe, checkpoint / "tokenizer").state_dict()


@pytest.mark.parametrize("ranks", [2, 3])
@pytest.mark.parametrize("option", OPTIONS)
def test_many_ranks_end_with_the_weights_of_one_process_on_the_whole_batch(folder: Path, option: str, ranks: int) -> None:
    one, many = weights(folder / "1" / option), weights(folder / str(ranks) / option)
    start = untrained(folder / "1" / option)
    moved = max((one[name] - value).abs().max().item() for name, value in start.items() if name.startswith("document."))
    apart = max((one[name].float() - many[name]).abs().max().item() for name in one if one[name].numel())

    assert one.keys() == many.keys()
    assert moved > 1e-2  # equality below is not that of runs that stood still
    assert apart < moved / 1000


@pytest.mark.parametrize("ranks", [2, 3])
def test_the_dump_is_the_same_byte_for_byte_from_one_two_and_three_ranks(folder: Path, ranks: int) -> None:
    files = sorted(path.name for path in (folder / "1/dump").glob("video-*.h5"))

    assert len(files) > 3
    assert sorted(path.name for path in (folder / str(ranks) / "dump").glob("video-*.h5")) == files
    for name in files:
        with h5py.File(folder / "1/dump" / name) as one, h5py.File(folder / str(ranks) / "dump" / name) as many:
            assert one["embeddings"][:].tobytes() == many["embeddings"][:].tobytes()
            assert one["ids"][:].tolist() == many["ids"][:].tolist()
            assert np.isfinite(one["embeddings"][:]).all()


@pytest.mark.parametrize("ranks", [2, 3])
def test_an_evaluation_is_the_same_byte_for_byte_from_one_two_and_three_ranks(folder: Path, ranks: int) -> None:
    for name in ("ranked.h5", "run.trec", "metrics.json"):
        assert (folder / str(ranks) / "evaluated" / name).read_bytes() == (folder / "1/evaluated" / name).read_bytes()
