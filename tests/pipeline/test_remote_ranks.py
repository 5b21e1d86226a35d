"""Many processes with one cache: training on a mixture of a remote and a local corpus, and embedding what lies on a web server."""

from __future__ import annotations

import atexit
from pathlib import Path

import h5py
import pytest
import torch

from pipeline.checkup.shard_set import check_shards
from pipeline.pack import pack
from pipeline.shards import ShardSet
from tests.pipeline.bad_server import BadServer, serving
from tests.pipeline.little_corpus import SMALL, write_little_corpus

STARTED: list[BadServer] = []
"""The server, which lives as long as the process: commands of all rank counts read from it."""


def commands_for(folder: Path) -> dict[int, list[list[str]]]:
    """For R of 1, 2, 3 ranks: R/run is a run of three steps, R/dump the clips embedded with the run of one process."""
    for name, products in (("large", 8), ("little", 3)):
        pack(write_little_corpus(folder / name, products=products), folder / f"{name}_shards", workers=1, shard_samples=5, vocab_size=200)
    context = serving(folder / "large_shards")
    server = context.__enter__()
    atexit.register(context.__exit__, None, None, None)
    STARTED.append(server)
    remote = ("--cache", str(folder / "cache"), "--cache_size", "1GB", "--remote_tries", "9", "--remote_timeout_s", "60")
    server.faults["train/goods-000000.tar"] = ["drop"]
    commands = {}
    for ranks in (1, 2, 3):
        train = ["pipeline.train", *SMALL, "--train_corpora", f"{server.address}=0.6,{folder}/little_shards=0.4", "--stream.policy", "document"]
        train += ["--out", str(folder / f"{ranks}/run"), "--trainer.max_steps", "3", "--optim.lr", "0.01", "--optim.eps", "0.01", *remote]
        embed = ["pipeline.embed", "--checkpoint", str(folder / "1/run"), "--shards", f"{server.address}/test", "--domain", "video", "--workers", "1"]
        commands[ranks] = [train, [*embed, "--out", str(folder / f"{ranks}/dump"), *remote]]
    return commands


@pytest.fixture
def folder(ran: dict[str, Path]) -> Path:
    return ran[__name__]


def weights(folder: Path, ranks: int) -> dict[str, torch.Tensor]:
    return torch.load(folder / f"{ranks}/run/checkpoints/step-00000003/weights.pt", weights_only=True)


@pytest.mark.parametrize("ranks", [2, 3])
def test_many_ranks_on_a_mixture_end_with_the_weights_of_one_process(folder: Path, ranks: int) -> None:
    one, many = weights(folder, 1), weights(folder, ranks)

    assert one.keys() == many.keys()
    assert max((one[name].float() - many[name].float()).abs().max().item() for name in one if one[name].numel()) < 1e-4


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_a_remote_split_embeds_into_the_same_dump_from_any_number_of_ranks(folder: Path, ranks: int) -> None:
    shards = ShardSet(folder / "large_shards/test")
    names = [shards.shards[number].name for number in shards.of_domain("video")]

    for name in names:
        with h5py.File(folder / "1/dump" / f"{name}.h5") as one, h5py.File(folder / f"{ranks}/dump" / f"{name}.h5") as many:
            assert many["embeddings"][:].tobytes() == one["embeddings"][:].tobytes()
            assert [id.decode() for id in many["ids"][:]] == list(shards.shard([info.name for info in shards.shards].index(name)).ids)
    assert len(names) == 2


def test_all_ranks_of_all_commands_fetched_each_shard_once(folder: Path) -> None:
    server = STARTED[-1]

    tars = {path: count for path, count in server.requests.items() if path.endswith(".tar")}

    assert len(tars) > 5 and tars.pop("train/goods-000000.tar") == 2  # its first connection was dropped
    assert set(tars.values()) == {1}


def test_the_doctor_reads_a_remote_set_through_the_cache_and_names_a_shard_that_was_exchanged(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"CACHE": str(tmp_path), "REMOTE_TRIES": "3", "REMOTE_WAIT_S": "0"}.items():
        monkeypatch.setenv(f"REELGOODS_{name}", value)
    with serving(folder / "little_shards") as server:
        well = check_shards(server.address)
        shown = {sheet.title.rpartition("/")[2]: sheet for sheet in well}
        server.faults["train/video-000000.tar"] = ["swap"] * 9
        monkeypatch.setenv("REELGOODS_CACHE", str(tmp_path / "other"))
        ill = check_shards(f"{server.address}/train")
        quick = check_shards(f"{server.address}/train", quick=True)
        some = check_shards(f"{folder}/little_shards/train/goods-{{000000..000000}}.tar")

    assert [sheet.problems for sheet in well + quick + some] == [[]] * 4 and set(shown) == {"train", "test"}
    assert any(what == "cache" and str(tmp_path) in how for what, how in shown["train"].rows)
    assert len(ill) == 1 and len(ill[0].problems) == 1
    assert "video-000000.tar: another shard than the one that was packed" in ill[0].problems[0]
