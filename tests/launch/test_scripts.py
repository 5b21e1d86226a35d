"""The scripts a person types: which module they call, their help, and what a mistake looks like."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
SCRIPTS = {
    "train.sh": "-m pipeline.train",
    "video2goods_evaluate.sh": "-m pipeline.retrieve --task video2goods",
    "goods2video_evaluate.sh": "-m pipeline.retrieve --task goods2video",
}


def run(script: str, *flags: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    settings = os.environ | {"REELGOODS_PYTHON": sys.executable, "NPROC_PER_NODE": "1", "NNODES": "1"} | environment
    return subprocess.run(["bash", str(CHECKOUT / script), *flags], cwd=cwd, env=settings, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_hands_every_flag_to_its_module(tmp_path, script):
    done = run(script, "--data", "my corpus", "--stream.batch_size=64", cwd=tmp_path, REELGOODS_PYTHON="/bin/echo")

    assert done.stdout.strip() == f"{SCRIPTS[script]} --data my corpus --stream.batch_size=64"


def test_help_lists_the_flags(tmp_path):
    done = run("train.sh", "--help", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    for flag in ("--data", "--out", "--recipe", "--stream.batch_size"):
        assert flag in done.stdout


@pytest.mark.parametrize(
    ("script", "flags", "names"),
    [
        ("train.sh", ("--recipe", "qcd:smoke", "--data", ".", "--out", "run", "--nonsense", "1"), "nonsense"),
        ("goods2video_evaluate.sh", ("--checkpoint", "nowhere", "--data", ".", "--out", "out"), "nowhere"),
    ],
)
def test_a_mistake_is_one_line_that_names_it(tmp_path, script, flags, names):
    done = run(script, *flags, cwd=tmp_path)

    assert done.returncode == 2, done.stderr
    assert names in done.stderr
    assert done.stderr.strip().count("\n") == 0, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_corpus_without_videos_is_one_line_that_says_so(tmp_path):
    goods = [{"id": str(number), "domain": "goods", "title": f"kettle {number}", "queries": ["kettle"]} for number in range(8)]
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "catalog.jsonl").write_text("".join(json.dumps(good) + "\n" for good in goods))

    done = run("train.sh", "--recipe", "qcd:smoke", "--data", "corpus", "--out", "run", cwd=tmp_path)

    assert done.returncode == 2, done.stderr
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("error: "))
    assert "video" in line
    assert "Traceback" not in done.stderr


def test_any_task_goes_through_the_script_behind_the_two(tmp_path):
    done = run("launch/evaluate.sh", "query2goods", "--data", "my corpus", cwd=tmp_path, REELGOODS_PYTHON="/bin/echo")

    assert done.stdout.strip() == "-m pipeline.retrieve --task query2goods --data my corpus"


def test_the_task_of_evaluate_is_asked_for(tmp_path):
    done = run("launch/evaluate.sh", "--data", "corpus", cwd=tmp_path)

    assert done.returncode == 2
    assert done.stderr.startswith("error: usage: bash launch/evaluate.sh video2goods|goods2video")


BASH = sorted([*CHECKOUT.glob("*.sh"), *CHECKOUT.glob("launch/*.sh"), CHECKOUT / "launch/slurm.sbatch", CHECKOUT / ".ci/run"])


@pytest.mark.parametrize("path", BASH, ids=lambda path: path.name)
def test_a_script_is_strict_and_parses(path):
    text = path.read_text()

    assert text.startswith("#!/usr/bin/env bash\n")
    assert "\nset -euo pipefail\n" in text
    assert subprocess.run(["bash", "-n", str(path)]).returncode == 0
