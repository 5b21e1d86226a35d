"""Checkpoints on disk: written beside the training, never found half, and the former one stands where the disk is full."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from launch.files import read_json
from pipeline import train as train_module
from pipeline.checkpoint import Background, CheckpointFolder, State, contents_of
from pipeline.checkpoint import folder as folder_module
from pipeline.checkpoint.contents import host_copy
from pipeline.pack import pack
from pipeline.recipe import resolve
from pipeline.training.step import Step
from tests.pipeline.little_corpus import SMALL, write_little_corpus

STEPS = ("--trainer.max_steps", "6", "--trainer.checkpoint_every", "2", "--trainer.keep", "3")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    pack(write_little_corpus(folder / "corpus"), folder / "shards", workers=1, vocab_size=200)
    return folder / "shards"


def train(shards: Path, out: Path, *flags: str) -> None:
    train_module.main([*SMALL, *STEPS, "--data", str(shards), "--out", str(out), *flags])


def weights(out: Path) -> dict[str, torch.Tensor]:
    return torch.load(out / "checkpoints/step-00000006/weights.pt", weights_only=True)


def same(one: Path, other: Path) -> bool:
    first, second = weights(one), weights(other)
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module")
def whole(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of six steps with checkpoints at 2, 4 and 6."""
    out = tmp_path_factory.mktemp("whole")
    train(shards, out)
    return out


# ---- what was cut off or damaged


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no last file": (lambda last: (last / "state.json").unlink(), "step-00000006/state.json: missing, the checkpoint is not whole"),
    "weights cut": (lambda last: cut(last / "weights.pt"), "step-00000006/weights.pt is not the file that was written (checksum differs)"),
    "optimiser cut": (lambda last: cut(last / "training.pt"), "step-00000006/training.pt is not the file that was written (checksum differs)"),
    "weights gone": (lambda last: (last / "weights.pt").unlink(), "step-00000006/weights.pt: missing, the checkpoint is not whole"),
    "half a JSON": (lambda last: cut(last / "recipe.json"), "step-00000006/recipe.json: not UTF-8 JSON"),
    "folder gone": (lambda last: shutil.rmtree(last), "latest does not name the newest whole checkpoint; it names step-00000004 now"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_not_whole_is_passed_over_with_a_line_that_says_so(damage, whole, tmp_path, capsys):
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    do, says = DAMAGE[damage]
    do(run / "checkpoints/step-00000006")

    found = CheckpointFolder(run).reopen()

    assert found == CheckpointFolder(run).latest() == run / "checkpoints/step-00000004"
    assert says in capsys.readouterr().out


def test_a_run_whose_newest_checkpoint_was_cut_off_goes_on_from_the_one_before_to_the_same_end(whole, shards, tmp_path, capsys):
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    cut(run / "checkpoints/step-00000006/weights.pt")
    (run / "checkpoints/.step-00000008.77.tmp").mkdir()
    with open(run / "log.jsonl", "a") as file:
        file.write('{"step": 7, "ep')  # the power went off

    train(shards, run)

    assert f"going on from {run}/checkpoints/step-00000004 (step 4)" in capsys.readouterr().out
    assert same(run, whole)
    assert [line.partition(",")[0] for line in (run / "log.jsonl").read_text().splitlines()] == [f'{{"step": {step}' for step in range(1, 7)]
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["latest", *(f"step-0000000{step}" for step in (2, 4, 6))]


def test_where_no_checkpoint_is_whole_the_run_does_not_begin_anew_by_itself(whole, shards, tmp_path):
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    for step in (run / "checkpoints").glob("step-*"):
        cut(step / "weights.pt")

    with pytest.raises(ValueError, match="none of 3 checkpoints is whole; restore one, or remove the folder to begin anew"):
        train(shards, run)


def test_imported_weights_are_started_from_and_not_gone_on_with(whole, shards, tmp_path):
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    for step in (run / "checkpoints").glob("step-*"):
        (step / "training.pt").unlink()
        text = (step / "state.json").read_text()
        digest = read_json(step / "state.json")["checksums"]["training"]
        (step / "state.json").write_text(text.replace(f',\n  "training": "{digest}"', ""))

    with pytest.raises(ValueError, match="holds weights alone, which a new run starts from: give another --out, and this folder as --init"):
        train(shards, run)


# ---- a full disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 24 MB, which only root can make."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        pytest.skip("needs root on Linux, to mount a small disk")
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"no small disk here: {made.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(disk: Path, left: int, written: str) -> None:
    """Leave so many bytes free, once the checkpoint `written` is whole."""
    while not (disk / "run/checkpoints" / written).is_dir():
        time.sleep(0.01)
    with open(disk / "ballast", "wb") as file:
        file.write(bytes(shutil.disk_usage(disk).free - left))


def during_step(monkeypatch: pytest.MonkeyPatch, doings: dict[int, Callable[[], Any]]) -> None:
    """Do something as a step of this process begins, counted from 1."""
    take, calls = Step.__call__, iter(range(1, 1000))

    def counted(self: Step, batches: list[Any]) -> dict[str, float]:
        doings.get(next(calls), lambda: None)()
        return take(self, batches)

    monkeypatch.setattr(Step, "__call__", counted)


@pytest.mark.parametrize("seen_before", [True, False], ids=["seen before writing", "met while writing"])
def test_a_disk_that_is_full_for_a_while_costs_a_checkpoint_and_not_the_run(seen_before, small_disk, whole, shards, monkeypatch):
    if not seen_before:
        monkeypatch.setattr(CheckpointFolder, "_free", lambda self: 10**12)
    seen, said = [], []

    def hear(line: str) -> None:
        said.append(line)
        seen.extend(sorted(path.name for path in (small_disk / "run/checkpoints").iterdir()))
        (small_disk / "ballast").unlink()

    monkeypatch.setattr("pipeline.checkpoint.background.say", hear)
    during_step(monkeypatch, {4: lambda: fill(small_disk, 1_000_000, "step-00000002")})

    train(shards, small_disk / "run")

    assert len(said) == 1
    assert "step-00000004 was not written (No space left on device; it takes " in said[0]
    assert "are free there); step-00000002 is whole and stays; the run goes on and tries again at the next checkpoint" in said[0]
    assert seen == ["latest", "step-00000002"]
    assert same(small_disk / "run", whole)


def test_a_run_that_ends_on_a_full_disk_says_so_and_goes_on_from_the_checkpoint_before_when_there_is_room(small_disk, whole, shards, monkeypatch):
    during_step(monkeypatch, {6: lambda: fill(small_disk, 1_000_000, "step-00000004")})

    with pytest.raises(
        ValueError, match=r"step-00000006 was not written \(No space left.*step-00000004 is whole and stays; make room there and start"
    ):
        train(shards, small_disk / "run")
    (small_disk / "ballast").unlink()
    train(shards, small_disk / "run")

    assert same(small_disk / "run", whole)


def test_a_best_checkpoint_that_was_not_written_is_not_the_best_one(tmp_path, monkeypatch):
    corpus = write_little_corpus(tmp_path / "corpus", products=12)
    put, tried = CheckpointFolder.put, []

    def full_at_first(self: CheckpointFolder, *arguments: Any) -> Path:
        tried.append(1)
        if len(tried) == 1:
            raise folder_module.NotWritten("no room")
        return put(self, *arguments)

    monkeypatch.setattr(CheckpointFolder, "put", full_at_first)
    flags = ("--packing.holdout_videos", "12", "--trainer.max_steps", "2", "--trainer.validate_every", "1", "--trainer.checkpoint_every", "1")
    monkeypatch.setattr("pipeline.training.trainer.validate", lambda *_: {"video2goods/recall@10": 0.5 / len(tried) if tried else 0.5})

    train_module.main([*SMALL, *flags, "--data", str(corpus), "--out", str(tmp_path / "run")])

    saved = read_json(tmp_path / "run/checkpoints/step-00000002/state.json")
    assert (saved["best"], saved["best_step"]) == ({"video2goods/recall@10": 0.5}, 2)
    assert CheckpointFolder(tmp_path / "run").best() == tmp_path / "run/checkpoints/step-00000002"


# ---- beside the training


def test_a_copy_keeps_what_shares_memory_shared_and_does_not_follow_what_is_trained():
    storage = torch.arange(12.0)
    nest = {"all": storage, "rows": [storage.view(3, 4)[1], (storage[::2], "words")], "alone": torch.ones(2, dtype=torch.int64)}
    expected = {"all": list(range(12)), "row": [4, 5, 6, 7], "even": [0, 2, 4, 6, 8, 10]}

    copied = host_copy(nest)
    storage.zero_()

    assert copied["all"].tolist() == expected["all"]
    assert copied["rows"][0].tolist() == expected["row"] and copied["rows"][1][0].tolist() == expected["even"]
    assert copied["rows"][1][1] == "words" and copied["alone"].dtype == torch.int64
    copied["all"][4] = -1
    assert copied["rows"][0][0] == -1 and copied["rows"][1][0][2] == -1


class Tower(torch.nn.Linear):
    """As much of a system as a checkpoint asks for."""

    def describe(self) -> dict[str, int]:
        return {"inputs": self.in_features}

    def save_files(self, folder: Path) -> None:
        (folder / "words.txt").write_text("茶")


def test_a_checkpoint_written_beside_the_training_is_byte_for_byte_the_one_written_at_once(tmp_path, monkeypatch):
    tower, may_write = Tower(30, 20), threading.Event()
    optimiser = torch.optim.Adam(tower.parameters())
    tower(torch.ones(1, 30)).sum().backward()
    optimiser.step()
    arguments = (tower, resolve("qcd:smoke"), State(step=3), {"optimiser": optimiser.state_dict()}, {"weight": tower.weight.detach()})
    at_once = CheckpointFolder(tmp_path / "at_once").put(contents_of(*arguments), keep=1)
    save = torch.save
    monkeypatch.setattr(torch, "save", lambda *args: may_write.wait(60) and save(*args))

    with Background(CheckpointFolder(tmp_path / "beside"), keep=1) as background:
        background.begin(contents_of(*arguments))
        optimiser.step()  # goes on while nothing of it is on disk yet
        assert not list((tmp_path / "beside/checkpoints").glob("step-*"))
        may_write.set()
        assert background.settle() is None

    files = sorted(path.name for path in at_once.iterdir())
    assert files == ["ema.pt", "recipe.json", "state.json", "system.json", "training.pt", "weights.pt", "words.txt"]
    assert all((tmp_path / "beside/checkpoints/step-00000003" / name).read_bytes() == (at_once / name).read_bytes() for name in files)


def test_one_checkpoint_is_written_at_a_time_and_the_end_waits_for_the_last(shards, tmp_path, monkeypatch):
    put, open_now, most = CheckpointFolder.put, [], []

    def slow(self: CheckpointFolder, *arguments: Any) -> Path:
        open_now.append(1)
        most.append(len(open_now))
        threading.Event().wait(0.1)
        written = put(self, *arguments)
        open_now.pop()
        return written

    monkeypatch.setattr(CheckpointFolder, "put", slow)

    train(shards, tmp_path, "--trainer.checkpoint_every", "1")

    assert most == [1] * 6
    assert not open_now
    assert CheckpointFolder(tmp_path).latest() == tmp_path / "checkpoints/step-00000006"


def test_an_error_of_writing_that_is_not_the_disks_ends_the_run_at_the_next_step(shards, tmp_path, monkeypatch):
    steps: list[int] = []
    ended = threading.Event()

    def broken(*_: Any) -> None:
        ended.set()
        raise RuntimeError("a tensor of a kind that cannot be saved")

    during_step(monkeypatch, {step: lambda step=step: (steps.append(step), step > 2 and ended.wait(60)) for step in range(1, 7)})
    monkeypatch.setattr(folder_module, "_write_files", broken)

    with pytest.raises(RuntimeError, match="cannot be saved"):
        train(shards, tmp_path)

    assert steps in ([1, 2, 3], [1, 2, 3, 4])  # the step that ran meanwhile, and the one after
