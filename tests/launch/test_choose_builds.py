"""Which torch and FAISS builds a machine gets, from what nvidia-smi says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from launch.choose_builds import choose

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("says", "constraints", "reason"),
    [
        ("", "cpu", "no NVIDIA card"),
        ("Tesla V100-SXM2-32GB, 7.0, 535.161.08\n", "cuda12", "V100-SXM2-32GB (compute capability 7.0)"),
        ("NVIDIA A100-SXM4-80GB, 8.0, 550.54.15\n" * 8, "cuda12", "compute capability 8.0"),
        ("NVIDIA H100 80GB HBM3, 9.0, 580.82.07\n", "cuda12", "compute capability 9.0"),
        ("Tesla V100-PCIE-16GB, 7.0, 535.161.08\nNVIDIA H100 PCIe, 9.0, 535.161.08\n", "cuda12", "CUDA 12"),
        ("NVIDIA B200, 10.0, 580.82.07\n", "cuda13", "FAISS searches on the CPU"),
        ("NVIDIA GeForce RTX 5090, 12.0, 581.29\n", "cuda13", "compute capability 12.0"),
        ("NVIDIA B200, 10.0, 570.86.15\n", "cpu", "driver 570 is older than the 580"),
        ("Tesla V100-SXM2-16GB, 7.0, 470.57.02\n", "cpu", "driver 470 is older than the 525"),
        ("Tesla P100-PCIE-16GB, 6.0, 535.161.08\n", "cpu", "P100-PCIE-16GB (compute capability 6.0): no known pair"),
        ("Tesla V100-SXM2-16GB, 7.0, 580.82.07\nNVIDIA B200, 10.0, 580.82.07\n", "cpu", "beside NVIDIA B200"),
        ("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n", "cpu", "couldn't communicate"),
        ('Field "compute_cap" is not a valid field to query.\n', "cpu", "not a valid field"),
        ("NVIDIA A100-SXM4-80GB, 8.0, 550.54.15\nUnable to determine the device handle\n", "cpu", "Unable to determine the device handle"),
    ],
)
def test_the_builds_follow_from_capability_and_driver(says, constraints, reason):
    choice = choose(says)

    assert choice.constraints == f"constraints/{constraints}.txt"
    assert reason in choice.reason


@pytest.mark.parametrize("name", ["cpu", "cuda12", "cuda13"])
def test_every_file_to_choose_pins_torch_and_exactly_one_faiss(name):
    lines = (CHECKOUT / "constraints" / f"{name}.txt").read_text().splitlines()

    assert len([line for line in lines if re.match(r"torch==\d", line)]) == 1
    assert len([line for line in lines if re.match(r"faiss[a-z-]*==\d", line)]) == 1
    assert "-c shared.txt" in lines


def test_the_shared_pins_name_neither_torch_nor_faiss_nor_a_package_host():
    for path in (CHECKOUT / "constraints").glob("*.txt"):
        assert "://" not in path.read_text(), f"{path.name} names a package host"
    pinned = (CHECKOUT / "constraints" / "shared.txt").read_text().splitlines()
    assert not [line for line in pinned if line.startswith(("torch==", "faiss"))]
