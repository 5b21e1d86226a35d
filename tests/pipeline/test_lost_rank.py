"""What a run says when an exchange between ranks fails. tests/multinode cuts a real connection; here the error is made up."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from pipeline import embed as embed_module
from pipeline import train as train_module
from pipeline.checkpoint import load_checkpoint
from pipeline.pack import pack
from pipeline.training.step import Step
from tests.pipeline.little_corpus import SMALL, write_little_corpus

SILENT = "[/src/gloo/gloo/transport/tcp/unbound_buffer.cc:78] Timed out waiting 8000ms for recv operation to complete"
GONE = "[/src/gloo/gloo/transport/tcp/pair.cc:538] Connection closed by peer [10.0.0.2]:4217"


class Left(BaseException):
    """In place of the end of this process."""


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lost")
    pack(write_little_corpus(folder / "corpus"), folder / "shards", workers=1, vocab_size=200)
    return folder / "shards"


def fail_at(monkeypatch: pytest.MonkeyPatch, step: int, error: RuntimeError) -> None:
    """The exchange of `step` fails with `error`, and a process that ends at once raises Left."""
    take = Step.__call__

    def counted(self: Step, batches: list) -> dict[str, float]:
        counted.calls += 1  # type: ignore[attr-defined]
        if counted.calls == step:  # type: ignore[attr-defined]
            raise error
        return take(self, batches)

    def leave(code: int) -> None:
        raise Left(code)

    counted.calls = 0  # type: ignore[attr-defined]
    monkeypatch.setattr(Step, "__call__", counted)
    monkeypatch.setattr(os, "_exit", leave)


def train(shards: Path, out: Path) -> None:
    flags = ("--trainer.max_steps", "4", "--trainer.checkpoint_every", "2", "--trainer.timeout_s", "8")
    train_module.main([*SMALL, "--data", str(shards), "--out", str(out), *flags])


@pytest.mark.parametrize(
    ("error", "happened"),
    [
        (RuntimeError(SILENT), "did not answer for 8 s (--trainer.timeout_s)"),
        (RuntimeError(GONE), "broke off the connection"),
        (torch.distributed.DistBackendError("NCCL error in: x.cpp:1\nncclRemoteError"), "broke off the connection"),
    ],
)
def test_a_rank_that_is_lost_is_one_line_and_the_last_checkpoint_stands(
    error: RuntimeError, happened: str, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail_at(monkeypatch, 4, error)

    with pytest.raises(Left, match="2"):
        train(shards, tmp_path)

    [line] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    latest = tmp_path / "checkpoints/step-00000002"
    assert line.startswith(f"error: rank 0 of 1: another rank {happened} after step 3; ")
    assert f"it goes on from {latest}, which is whole (" in line
    assert line.endswith(f"({str(error).splitlines()[0].rpartition('] ')[2]})")
    assert load_checkpoint(tmp_path).state.step == 2


def test_a_rank_that_is_lost_before_a_checkpoint_says_that_the_run_begins_anew(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail_at(monkeypatch, 2, RuntimeError(GONE))

    with pytest.raises(Left):
        train(shards, tmp_path)

    assert "it begins anew, since no checkpoint was written yet (Connection closed by peer [10.0.0.2]:4217)" in capsys.readouterr().err


def test_a_rank_that_is_lost_while_embedding_is_one_line_too(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail_at(monkeypatch, 4, RuntimeError(GONE))
    with pytest.raises(Left):
        train(shards, tmp_path)

    def broken() -> None:
        raise RuntimeError(GONE)

    monkeypatch.setattr(embed_module.distributed, "barrier", broken)
    where = ("--shards", str(shards / "test"), "--domain", "goods", "--out", str(tmp_path / "dump"))
    capsys.readouterr()

    with pytest.raises(Left, match="2"):
        embed_module.main(["--checkpoint", str(tmp_path), *where, "--workers", "0"])

    [line] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert "another rank broke off the connection while embedding; " in line and "it goes on from the shards that are complete (" in line


def test_other_errors_stay_what_they_are(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_at(monkeypatch, 2, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))

    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        train(shards, tmp_path)
