"""launch/run.sh with a made-up stage: one process or many, whose folder counts, and what a mistake looks like."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]

STAGE = """
import argparse, json, os, signal, sys
from pathlib import Path
import launch.files

parser = argparse.ArgumentParser(allow_abbrev=False)
parser.add_argument("--data", required=True)
parser.add_argument("--out", required=True)
parser.add_argument("--check", action="store_true")
arguments = parser.parse_args()
with open(os.environ["STAGE_LOG"], "a") as log:
    log.write("check\\n" if arguments.check else "run\\n")
if arguments.check:
    sys.exit(0 if Path(arguments.data).is_dir() else f"error: {arguments.data}: no such folder")
names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "OMP_NUM_THREADS")
seen = {name: os.environ.get(name) for name in names} | {"cwd": os.getcwd(), "floor": launch.files.__file__}
Path(arguments.out).mkdir(exist_ok=True)
Path(arguments.out, f"rank{os.environ.get('RANK', '')}.json").write_text(json.dumps(seen))
if "WAIT" in os.environ:
    signal.signal(signal.SIGTERM, lambda *_: (Path(arguments.out, f"asked{os.environ['RANK']}").touch(), sys.exit(75)))
    Path(arguments.out, f"waits{os.environ['RANK']}").touch()
    signal.pause()
"""


class Caller:
    """A person in a folder of their own, which holds a corpus and, awkwardly, folders called like our rooms."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder / "home", folder / "log"
        for name in ("corpus", "evaluate", "launch", "pipeline"):
            (self.folder / name).mkdir(parents=True)
            (self.folder / name / "__init__.py").write_text("raise RuntimeError('the folder of the caller was imported')\n")
        (folder / "modules").mkdir()
        (folder / "modules" / "made_up_stage.py").write_text(STAGE)
        cleared = ("NNODES", "NODE_RANK", "NPROC_PER_NODE", "MASTER_ADDR", "MASTER_PORT", "TORCHRUN_ARGS", "OMP_NUM_THREADS", "RANK", "WORLD_SIZE")
        self.environment = {name: value for name, value in os.environ.items() if name not in cleared} | {
            "REELGOODS_PYTHON": sys.executable,
            "PYTHONPATH": str(folder / "modules"),
            "STAGE_LOG": str(self.log),
            "NPROC_PER_NODE": "1",
        }

    def start(self, *flags: str, **environment: str) -> subprocess.Popen[str]:
        command = ["bash", str(CHECKOUT / "launch/run.sh"), "--check-first", "made_up_stage", *flags]
        return subprocess.Popen(
            command, cwd=self.folder, env=self.environment | environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def run(self, *flags: str, **environment: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*flags, **environment)
        out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def seen(self) -> list[dict[str, str]]:
        """What each process of the stage wrote, in the order of ranks."""
        return [json.loads(path.read_text()) for path in sorted((self.folder / "run").glob("rank*.json"))]

    def calls(self) -> list[str]:
        return self.log.read_text().split() if self.log.exists() else []


@pytest.fixture
def caller(tmp_path) -> Caller:
    return Caller(tmp_path)


GOOD = ("--data", "corpus", "--out", "run")


def test_one_process_runs_plainly_in_the_folder_of_the_caller(caller):
    done = caller.run(*GOOD)

    (seen,) = caller.seen()
    assert done.returncode == 0, done.stderr
    assert seen["cwd"] == str(caller.folder)
    assert seen["floor"] == str(CHECKOUT / "launch/files.py")
    assert (seen["RANK"], seen["WORLD_SIZE"]) == (None, None)
    assert caller.calls() == ["run"]


def test_a_rank_left_over_from_a_scheduler_makes_no_process_wait_for_others(caller):
    caller.run(*GOOD, RANK="1", WORLD_SIZE="16")

    (seen,) = caller.seen()
    assert (seen["RANK"], seen["WORLD_SIZE"]) == (None, None)


def test_several_processes_come_from_torchrun_after_one_look_at_the_flags(caller):
    done = caller.run(*GOOD, NPROC_PER_NODE="2")

    seen = caller.seen()
    assert done.returncode == 0, done.stderr
    assert [process["RANK"] for process in seen] == ["0", "1"]
    assert {process["WORLD_SIZE"] for process in seen} == {"2"}
    assert {process["cwd"] for process in seen} == {str(caller.folder)}
    cores = len(os.sched_getaffinity(0))
    assert {process["OMP_NUM_THREADS"] for process in seen} == {str(max(1, cores // 2))}
    assert caller.calls() == ["check", "run", "run"]


def test_several_processes_that_get_usr1_are_asked_to_stop_and_the_exit_code_says_try_again(caller):
    process = caller.start(*GOOD, NPROC_PER_NODE="2", WAIT="yes")
    end, waiting = time.monotonic() + 120, [caller.folder / f"run/waits{rank}" for rank in range(2)]
    while not all(path.exists() for path in waiting):
        assert process.poll() is None and time.monotonic() < end, process.communicate()
        time.sleep(0.05)

    process.send_signal(signal.SIGUSR1)

    _, said = process.communicate(timeout=120)
    assert process.returncode == 75, said
    assert all((caller.folder / f"run/asked{rank}").exists() for rank in range(2))
    assert "Traceback" not in said


def test_two_nodes_meet_at_the_first(caller, unused_port):
    nodes = [
        caller.start(*GOOD, NNODES="2", NODE_RANK=str(node), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(unused_port), OMP_NUM_THREADS="1")
        for node in range(2)
    ]
    ends = [node.communicate(timeout=120)[1] for node in nodes]

    seen = caller.seen()
    assert [node.returncode for node in nodes] == [0, 0], ends
    assert [process["RANK"] for process in seen] == ["0", "1"]
    assert [process["LOCAL_RANK"] for process in seen] == ["0", "0"]
    assert {process["OMP_NUM_THREADS"] for process in seen} == {"1"}


@pytest.mark.parametrize(
    ("flags", "last_line"),
    [
        ((*GOOD, "--wrong", "1"), "unrecognized arguments: --wrong 1"),
        (("--data", "nowhere", "--out", "run"), "error: nowhere: no such folder"),
    ],
)
def test_a_mistake_with_several_processes_never_reaches_torchrun(caller, flags, last_line):
    done = caller.run(*flags, NPROC_PER_NODE="2")

    assert done.returncode != 0
    assert done.stderr.splitlines()[-1].endswith(last_line)
    assert "torch" not in done.stderr
    assert caller.seen() == []


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_is_printed_once_whatever_the_environment(caller, flag):
    done = caller.run(*GOOD, flag, NPROC_PER_NODE="4", NNODES="2")

    assert done.returncode == 0
    assert done.stdout.count("usage:") == 1
    assert caller.calls() == []


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"NNODES": "2"}, "NNODES=2 needs MASTER_ADDR"),
        ({"NNODES": "2", "MASTER_ADDR": "node0"}, "and NODE_RANK"),
        ({"NPROC_PER_NODE": "0"}, "NPROC_PER_NODE=0: a number of processes, 1 or more"),
        ({"NPROC_PER_NODE": "all"}, "NPROC_PER_NODE=all: a number of processes, 1 or more"),
        ({"REELGOODS_PYTHON": "no-such-python"}, "REELGOODS_PYTHON=no-such-python: no such interpreter"),
    ],
)
def test_an_environment_that_does_not_add_up_is_one_line(caller, environment, says):
    done = caller.run(*GOOD, **environment)

    assert done.returncode == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert caller.calls() == []


@pytest.fixture
def unused_port() -> int:
    import socket

    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])
