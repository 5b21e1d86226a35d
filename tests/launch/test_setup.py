"""launch/setup.sh in a made-up checkout, with an interpreter that writes down what pip is asked for instead of installing it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]

FAKE_PYTHON = """#!/usr/bin/env bash
case "$*" in
  "-m venv "*) mkdir -p "$3/bin"; cp "$0" "$3/bin/python" ;;
  *"pip"*" freeze") cat "$REELGOODS_FAKE_FREEZE" 2>/dev/null || true ;;
  *"pip"*) sleep "${REELGOODS_FAKE_SECONDS:-0}"; echo "$*" >>"$REELGOODS_FAKE_LOG" ;;
  *"import torch, faiss"*) echo "set-up: done" ;;
  *) exec "$REELGOODS_REAL_PYTHON" "$@" ;;
esac
"""


class Machine:
    """A checkout of its own and an environment without a card, unless `card` says what nvidia-smi prints."""

    def __init__(self, folder: Path) -> None:
        self.checkout, self.tools, self.log, self.freeze = folder / "checkout", folder / "tools", folder / "pip.log", folder / "freeze"
        shutil.copytree(CHECKOUT / "launch", self.checkout / "launch")
        shutil.copytree(CHECKOUT / "constraints", self.checkout / "constraints")
        for name in ("setup.cfg", "pyproject.toml"):
            shutil.copy(CHECKOUT / name, self.checkout / name)
        self.tools.mkdir()
        self.tool("fake-python", FAKE_PYTHON)
        self.tool("nvidia-smi", "#!/bin/sh\nexit 0\n")
        kept = {name: value for name, value in os.environ.items() if not name.startswith("REELGOODS_")}
        self.environment = kept | {
            "PATH": f"{self.tools}:{os.environ['PATH']}",
            "PYTHON": str(self.tools / "fake-python"),
            "REELGOODS_REAL_PYTHON": sys.executable,
            "REELGOODS_FAKE_LOG": str(self.log),
            "REELGOODS_FAKE_FREEZE": str(self.freeze),
        }

    def tool(self, name: str, text: str) -> None:
        (self.tools / name).write_text(text)
        (self.tools / name).chmod(0o755)

    def card(self, line: str) -> None:
        self.tool("nvidia-smi", f"#!/bin/sh\necho '{line}'\n")

    def setup(self, *flags: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = ["bash", str(self.checkout / "launch/setup.sh"), *flags]
        return subprocess.run(command, env=self.environment | environment, capture_output=True, text=True, cwd=self.tools)

    def installed(self) -> list[str]:
        """The arguments of every pip command since the last call."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return lines


@pytest.fixture
def machine(tmp_path) -> Machine:
    return Machine(tmp_path)


def test_a_machine_without_a_card_gets_cpu_builds_and_is_told_why(machine):
    done = machine.setup()

    torch, rest = machine.installed()
    assert done.returncode == 0, done.stderr
    assert "torch 2.13.0 and faiss-cpu from constraints/cpu.txt (no NVIDIA card was found: CPU builds)" in done.stdout
    assert torch.endswith("-c constraints/cpu.txt torch")
    assert rest.endswith("-c constraints/cpu.txt faiss-cpu -e .[test,browser]")


def test_a_v100_gets_the_builds_that_have_its_kernels(machine):
    machine.card("Tesla V100-SXM2-32GB, 7.0, 535.161.08")

    done = machine.setup()

    torch, rest = machine.installed()
    assert "torch 2.10.0 and faiss-gpu from constraints/cuda12.txt (Tesla V100-SXM2-32GB (compute capability 7.0)" in done.stdout
    assert torch.endswith("-c constraints/cuda12.txt torch")
    assert " faiss-gpu " in rest


def test_a_second_run_installs_nothing(machine):
    machine.setup()
    machine.installed()

    again = machine.setup()
    stale = machine.setup("--if-stale")

    assert machine.installed() == []
    assert ".venv stands" in again.stdout
    assert (stale.returncode, stale.stdout, stale.stderr) == (0, "", "")


@pytest.mark.parametrize("changed", ["setup.cfg", "constraints/shared.txt"])
@pytest.mark.parametrize("flags", [(), ("--if-stale",)])
def test_a_changed_pin_is_installed(machine, changed, flags):
    machine.setup()
    machine.installed()
    with open(machine.checkout / changed, "a") as file:
        file.write("# changed\n")

    machine.setup(*flags)

    assert len(machine.installed()) == 2


def test_what_was_cut_short_is_done_again(machine):
    machine.setup()
    machine.installed()
    (machine.checkout / ".venv/.reelgoods-stamp").unlink()

    machine.setup("--if-stale")

    assert len(machine.installed()) == 2


def test_two_runs_at_once_install_once(machine):
    if shutil.which("flock") is None:
        pytest.skip("flock is not installed: two set-ups at once are not kept apart here")
    command = ["bash", str(machine.checkout / "launch/setup.sh")]
    environment = machine.environment | {"REELGOODS_FAKE_SECONDS": "0.5"}

    runs = [subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) for _ in range(2)]

    assert [run.wait(timeout=60) for run in runs] == [0, 0]
    assert len(machine.installed()) == 2


def test_scripts_keep_the_builds_chosen_before_when_the_card_is_out_of_sight(machine):
    machine.card("NVIDIA A100-SXM4-80GB, 8.0, 550.54.15")
    machine.setup()
    machine.installed()
    machine.tool("nvidia-smi", "#!/bin/sh\nexit 0\n")

    machine.setup("--if-stale")
    assert machine.installed() == []

    machine.setup()
    assert "constraints/cpu.txt" in machine.installed()[0]


def test_a_file_of_ones_own_decides_and_is_found_from_where_one_stands(machine):
    (machine.tools / "mine.txt").write_text("torch==2.14.0\nfaiss-gpu-cuvs==1.15.1\n")

    done = machine.setup(REELGOODS_CONSTRAINTS="mine.txt", REELGOODS_TORCH_INDEX="file:///index")

    torch, rest = machine.installed()
    assert "torch 2.14.0 and faiss-gpu-cuvs" in done.stdout
    assert torch.endswith(f"-c {machine.tools}/mine.txt --index-url file:///index torch")
    assert rest.endswith(f"-c {machine.tools}/mine.txt faiss-gpu-cuvs -e .[test,browser]")

    machine.setup("--if-stale")
    assert machine.installed() == []


def test_another_index_fetches_the_build_anew(machine):
    machine.setup()
    machine.installed()

    machine.setup(REELGOODS_TORCH_INDEX="file:///index")

    removed, torch, _ = machine.installed()
    assert removed.endswith("uninstall -qq -y torch")
    assert "--index-url file:///index" in torch


def test_the_other_faiss_package_leaves_first(machine):
    machine.freeze.write_text("faiss-cpu==1.15.1\nh5py==3.16.0\n")
    machine.card("Tesla V100-SXM2-32GB, 7.0, 535.161.08")

    machine.setup()

    removed, *_ = machine.installed()
    assert removed.endswith("uninstall -qq -y faiss-cpu faiss-gpu faiss-gpu-cuvs")


@pytest.mark.parametrize(
    ("pins", "says"),
    [
        ("faiss-cpu==1.15.1\n", "pin torch"),
        ("torch==2.13.0\n", "pin exactly one FAISS package"),
        ("torch==2.13.0\nfaiss-cpu==1.15.1\nfaiss-gpu==1.15.1\n", "pin exactly one FAISS package"),
        (None, "no such file"),
    ],
)
def test_a_file_that_leaves_the_builds_open_is_refused_in_one_line(machine, pins, says):
    if pins is not None:
        (machine.tools / "mine.txt").write_text(pins)

    done = machine.setup(REELGOODS_CONSTRAINTS="mine.txt")

    assert done.returncode == 1
    assert says in done.stderr and "mine.txt" in done.stderr
    assert done.stderr.count("\n") == 1
    assert machine.installed() == []


def test_a_failed_install_is_not_taken_for_done(machine):
    machine.tool("fake-python", FAKE_PYTHON.replace('*"pip"*)', '*"pip"*"browser"*) exit 1 ;;\n  *"pip"*)'))

    failed = machine.setup()

    assert failed.returncode != 0
    assert not (machine.checkout / ".venv/.reelgoods-stamp").exists()


def test_a_failed_change_is_not_taken_for_done_when_the_pins_come_back(machine):
    machine.setup()
    pins = machine.checkout / "constraints/cpu.txt"
    before = pins.read_text()
    pins.write_text(before.replace("torch==2.13.0", "torch==2.14.0"))
    (machine.checkout / ".venv/bin/python").write_text(FAKE_PYTHON.replace('*"pip"*)', '*"pip"*"browser"*) exit 1 ;;\n  *"pip"*)'))
    assert machine.setup().returncode != 0
    (machine.checkout / ".venv/bin/python").write_text(FAKE_PYTHON)
    machine.installed()

    pins.write_text(before)
    machine.setup("--if-stale")

    assert len(machine.installed()) == 2


def test_an_environment_of_ones_own_is_left_alone(machine):
    done = machine.setup(REELGOODS_PYTHON="python3")

    assert done.returncode == 0
    assert not (machine.checkout / ".venv").exists()


def test_an_old_interpreter_is_refused_in_one_line(machine):
    machine.tool("fake-python", "#!/bin/sh\nexit 1\n")

    done = machine.setup()

    assert done.returncode == 1
    assert "Python 3.11 or newer is needed" in done.stderr
