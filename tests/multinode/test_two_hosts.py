"""Several nodes for real: two hosts with a cable between them train, embed and search through the commands that people start; then the
cable is pulled (`make test-multinode`, as root on Linux)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import h5py
import pytest
import torch

from launch.files import read_json
from pipeline import retrieve, train
from pipeline.checkpoint import CheckpointFolder, load_checkpoint
from pipeline.pack import pack
from tests.multinode.two_hosts import TwoHosts, two_hosts, why_not
from tests.pipeline.little_corpus import SMALL, write_little_corpus

pytestmark = pytest.mark.multinode

STEPS = 30
TIMEOUT_S = 15
"""Of the run that is cut off alone: it also bounds how far apart two ranks may start, and processes start slowly on a busy machine."""
TRAINING = (
    *SMALL,
    *("--optim.schedule", "constant", "--optim.lr", "0.01", "--optim.eps", "0.01"),  # eps: see tests/pipeline/test_ranks.py
    *("--trainer.checkpoint_every", "3", "--trainer.keep", "100"),
)


@pytest.fixture(scope="module")
def hosts() -> Iterator[TwoHosts]:
    reason = why_not()
    if reason:
        pytest.skip(reason)
    with two_hosts() as both:
        yield both


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    pack(write_little_corpus(folder / "corpus"), folder / "shards", workers=1, shard_samples=5, vocab_size=200)
    return folder / "shards"


def training(shards: Path, out: Path, steps: int = STEPS) -> list[str]:
    return [*TRAINING, "--data", str(shards), "--out", str(out), "--trainer.max_steps", str(steps)]


def evaluation(shards: Path, run: Path, out: Path) -> list[str]:
    return ["--task", "video2goods", "--checkpoint", str(run), "--data", str(shards), "--out", str(out), "--shown", "2"]


@pytest.fixture(scope="module")
def undisturbed(hosts: TwoHosts, shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run across both hosts, to its end."""
    run = tmp_path_factory.mktemp("undisturbed")
    for code, output in hosts.ends(hosts.start("train.sh", *training(shards, run))):
        assert code == 0, output
    return run


def weights(run: Path, step: int) -> dict[str, torch.Tensor]:
    return torch.load(run / f"checkpoints/step-{step:08d}/weights.pt", weights_only=True)


def test_two_hosts_end_with_the_weights_of_one_process(undisturbed: Path, shards: Path, tmp_path: Path) -> None:
    train.main(training(shards, tmp_path, steps=3))

    one, two, late = weights(tmp_path, 3), weights(undisturbed, 3), weights(undisturbed, STEPS)
    moved = max((late[name] - value).abs().max().item() for name, value in one.items() if name.startswith("document."))
    apart = max((one[name].float() - value).abs().max().item() for name, value in two.items() if value.numel())

    assert one.keys() == two.keys()
    assert moved > 1e-2  # equality below is not that of runs that stood still
    assert apart < moved / 1000


def test_two_hosts_embed_search_and_report_what_one_process_does(hosts: TwoHosts, undisturbed: Path, shards: Path, tmp_path: Path) -> None:
    started = hosts.start_c10d("launch/run.sh", "pipeline.retrieve", *evaluation(shards, undisturbed, tmp_path / "two"))
    for code, output in hosts.ends(started):
        assert code == 0, output
    retrieve.main(evaluation(shards, undisturbed, tmp_path / "one"))

    one, two = tmp_path / "one", tmp_path / "two"
    names = sorted(path.relative_to(one) for path in (one / "dumps").rglob("*-*.h5"))
    assert len(names) > 3
    for name in names:
        with h5py.File(one / name) as alone, h5py.File(two / name) as shared:
            assert alone["embeddings"][:].tobytes() == shared["embeddings"][:].tobytes()
            assert alone["ids"][:].tolist() == shared["ids"][:].tolist()
    assert (one / "run.trec").read_text() == (two / "run.trec").read_text()
    assert read_json(one / "metrics.json") == read_json(two / "metrics.json")


def test_a_host_that_is_cut_off_stops_the_other_and_both_go_on_when_it_is_back(
    hosts: TwoHosts, undisturbed: Path, shards: Path, tmp_path: Path
) -> None:
    log, command = tmp_path / "log.jsonl", training(shards, tmp_path)
    started = hosts.start("launch/run.sh", "pipeline.train", *command, "--trainer.timeout_s", str(TIMEOUT_S))
    hosts.wait_for(lambda: log.is_file() and log.read_text().count("\n") >= 7, started)

    hosts.second.unplug()
    stopped = hosts.ends(started)

    done = log.read_text().count("\n")
    latest = CheckpointFolder(tmp_path).latest()
    assert done < STEPS
    assert latest is not None
    assert load_checkpoint(latest).state.step == 3 * (done // 3)
    for number, (code, output) in enumerate(stopped):
        errors = [line for line in output.splitlines() if line.startswith("error: ")]
        assert code != 0, output
        assert len(errors) == 1, output
        assert f"rank {number} of 2: another rank did not answer for {TIMEOUT_S} s (--trainer.timeout_s)" in errors[0]
        assert f"it goes on from {latest}, which is whole" in errors[0]

    hosts.second.plug_in()
    for code, output in hosts.ends(hosts.start("launch/run.sh", "pipeline.train", *command)):
        assert code == 0, output

    again, straight = weights(tmp_path, STEPS), weights(undisturbed, STEPS)
    assert again.keys() == straight.keys()
    assert all(torch.equal(again[name], straight[name]) for name in straight)
    assert [line.partition(",")[0] for line in log.read_text().splitlines()] == [f'{{"step": {step}' for step in range(1, STEPS + 1)]
