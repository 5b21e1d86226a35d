"""What the doctor says of builds, cards and the machine."""

from __future__ import annotations

import importlib
import os
import shutil
from collections import namedtuple
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import faiss
import pytest
import torch

from pipeline.checkup import builds as builds_module
from pipeline.checkup import cards as cards_module
from pipeline.checkup.builds import builds, cudnn_version
from pipeline.checkup.cards import cards, serves
from pipeline.checkup.machine import machine
from tests.pipeline.sheets import only

V100, H200, B200 = "Tesla V100-SXM2-32GB, 7.0, 535.104.05", "NVIDIA H200, 9.0, 550.54", "NVIDIA B200, 10.0, 580.65"
Usage = namedtuple("Usage", "total used free")


def test_versions_and_builds_of_this_environment_are_shown() -> None:
    sheet = builds()

    rows = dict(sheet.rows)
    assert list(rows) == ["Python", "torch", "FAISS", "transformers", "webdataset", "h5py", "decord", "PyAV"]
    assert rows["torch"].startswith(f"{torch.__version__}, ")
    [package] = builds_module.installed_faiss()
    assert rows["FAISS"].startswith(f"{metadata.version(package)}, {'CPU' if package == 'faiss-cpu' else 'GPU'} build ({package}), ")
    assert "FFmpeg " in rows["PyAV"]
    assert sheet.problems == []


def test_a_gpu_build_of_torch_names_what_it_was_built_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91002)
    monkeypatch.setattr(torch.distributed, "is_nccl_available", lambda: True)
    monkeypatch.setattr(torch.cuda.nccl, "version", lambda: (2, 27, 5))

    assert builds_module.torch_build() == "CUDA 12.8, cuDNN 9.10.2, NCCL 2.27.5"


@pytest.mark.parametrize(("rocm", "shown"), [(None, "CPU build: no CUDA, cuDNN or NCCL in it"), ("6.4", "ROCm 6.4 build")])
def test_a_build_without_cuda_says_so(rocm: str | None, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch.version, "hip", rocm)

    assert builds_module.torch_build() == shown


@pytest.mark.parametrize(("number", "shown"), [(91002, "9.10.2"), (90100, "9.1.0"), (8902, "8.9.2"), (None, "none")])
def test_a_version_of_cudnn_is_read_as_people_write_it(number: int | None, shown: str) -> None:
    assert cudnn_version(number) == shown


def test_a_package_that_is_missing_or_does_not_load_and_two_of_faiss_are_problems(monkeypatch: pytest.MonkeyPatch) -> None:
    version, load = metadata.version, importlib.import_module

    def other_versions(package: str) -> str:
        if package == "webdataset":
            raise metadata.PackageNotFoundError(package)
        return "1.15.1" if package in ("faiss-cpu", "faiss-gpu") else version(package)

    def no_decord(name: str, package: str | None = None) -> object:
        if name == "decord":
            raise OSError("libavcodec.so.58: cannot open shared object file")
        return load(name, package)

    monkeypatch.setattr(metadata, "version", other_versions)
    monkeypatch.setattr(importlib, "import_module", no_decord)

    together, missing, broken = builds().problems

    assert together.startswith("faiss-cpu and faiss-gpu are installed together")
    assert missing.startswith("webdataset is not installed; run bash launch/setup.sh")
    assert broken.startswith("decord: libavcodec.so.58: cannot open shared object file; run bash launch/setup.sh")


def test_a_faiss_that_does_not_load_is_a_problem_and_the_rest_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ImportError("libcudart.so.12: cannot open shared object file")

    monkeypatch.setattr(builds_module, "load_faiss", broken)
    monkeypatch.setattr(cards_module, "load_faiss", broken)

    assert only(builds()).startswith("FAISS: ImportError: libcudart.so.12: cannot open shared object file; run bash launch/setup.sh")
    assert dict(cards("").rows)["FAISS serves"] == "cannot be known: it does not load"


# ---- cards


@pytest.mark.parametrize(
    ("architectures", "capability", "served"),
    [
        (["sm_70"], (7, 0), True),
        (["sm_70"], (7, 5), True),  # code of an earlier minor version runs
        (["sm_75"], (7, 0), False),
        (["sm_70", "sm_80"], (9, 0), False),
        (["sm_80", "compute_80"], (9, 0), True),  # PTX is turned into code for later cards
        (["compute_90"], (8, 0), False),
        (["sm_90a"], (9, 0), True),
        (["sm_100a"], (10, 3), False),  # a letter ties code to its own card
        (["sm_120"], (12, 0), True),
        (["gfx90a", "sm_80"], (8, 0), True),
        (["gfx90a"], (9, 0), False),  # another maker's
        ([], (8, 0), False),
    ],
)
def test_a_build_serves_the_cards_that_its_code_runs_on(architectures: list[str], capability: tuple[int, int], served: bool) -> None:
    assert serves(architectures, capability) == served


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """A torch for CUDA 12.8 that sees its cards."""
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)


@pytest.fixture
def faiss_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The official GPU build of FAISS."""
    monkeypatch.setattr(faiss, "StandardGpuResources", object, raising=False)
    monkeypatch.setattr(cards_module, "installed_faiss", lambda: ["faiss-gpu"])


def test_cards_that_both_builds_serve_are_no_problem(cuda: None, faiss_gpu: None) -> None:
    sheet = cards(f"{V100}\n{H200}", ["sm_70", "sm_80", "sm_90", "compute_90"])

    assert dict(sheet.rows) == {
        "torch serves": "compute capability 7.0, 8.0, 9.0, and by PTX 9.0 and up",
        "FAISS serves": "compute capability 7.0 to 9.0 if it is the official build; it does not say so itself",
        "here": "Tesla V100-SXM2-32GB (7.0), NVIDIA H200 (9.0)",
    }
    assert sheet.problems == []


def test_a_torch_for_cuda_says_what_it_holds_without_a_card_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch._C, "_cuda_getArchFlags", lambda: "sm_70 sm_90 compute_90", raising=False)
    monkeypatch.setattr(torch.cuda, "get_arch_list", list)

    monkeypatch.setattr(torch.version, "cuda", "12.8")
    assert cards_module.torch_architectures() == ["sm_70", "sm_90", "compute_90"]
    monkeypatch.setattr(torch.version, "cuda", None)
    assert cards_module.torch_architectures() == []


def test_a_card_without_code_in_torchs_build_is_a_problem(cuda: None) -> None:
    problem = only(cards(V100, ["sm_75", "sm_80", "sm_90"]))

    assert f"torch {torch.__version__} has no code for Tesla V100-SXM2-32GB (7.0); run bash launch/setup.sh" in problem
    assert problem.endswith("constraints/cuda12.txt")


def test_a_card_without_code_in_faisss_build_is_a_problem(cuda: None, faiss_gpu: None) -> None:
    problem = only(cards(B200, ["sm_100"]))

    assert problem.startswith("the official faiss-gpu has code for 7.0 to 9.0 alone, not for NVIDIA B200 (10.0); use faiss-cpu")


def test_a_cpu_build_of_faiss_is_no_problem_beside_any_card(cuda: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cards_module, "installed_faiss", lambda: ["faiss-cpu"])
    monkeypatch.delattr(faiss, "StandardGpuResources", raising=False)

    sheet = cards(B200, ["sm_100"])

    assert dict(sheet.rows)["FAISS serves"] == "no card: it is a CPU build; searches run on the processor"
    assert sheet.problems == []


def test_a_build_without_cuda_beside_a_card_is_a_problem_with_the_builds_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)

    assert dict(cards(H200).rows)["torch serves"] == "no NVIDIA card: it is a build without CUDA"
    assert "cannot use NVIDIA H200 (9.0): it is a build without CUDA; run bash launch/setup.sh" in only(cards(H200))
    old = "NVIDIA H200, 9.0, 470.82"
    assert "driver 470 is older than the 525" in only(cards(old))  # setup.sh would choose CPU builds again, so the driver is the remedy


def test_a_card_that_torch_cannot_start_is_a_problem(cuda: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    assert "cannot start CUDA here, though nvidia-smi lists NVIDIA H200 (9.0); see CUDA_VISIBLE_DEVICES" in only(cards(H200, ["sm_90"]))


def test_a_driver_that_fails_is_a_problem() -> None:
    assert "mend the driver" in only(cards("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver"))


def test_a_machine_without_cards_has_no_problem_and_what_cannot_be_known_is_said(cuda: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")  # no nvidia-smi
    monkeypatch.setattr(cards_module, "installed_faiss", lambda: ["faiss-gpu-cuvs"])
    monkeypatch.setattr(faiss, "StandardGpuResources", object, raising=False)

    sheet = cards(architectures=[])

    assert dict(sheet.rows) == {
        "torch serves": "cannot be known: this build does not say for which cards it has code",
        "FAISS serves": "cannot be known: this build does not say for which cards it has code",
        "here": "no NVIDIA card that nvidia-smi lists",
    }
    assert sheet.problems == []


def test_nvidia_smi_is_asked_and_its_own_words_are_kept_when_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = tmp_path / "nvidia-smi"
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    command.write_text(f"#!/bin/sh\necho '{H200}'\n")
    command.chmod(0o755)
    assert cards_module.nvidia_smi() == H200
    command.write_text("#!/bin/sh\necho 'no devices' >&2; exit 6\n")
    assert cards_module.nvidia_smi() == "no devices"


# ---- machine


def test_room_and_precision_of_this_machine_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(100 << 30, 40 << 30, 60 << 30))

    sheet = machine(tmp_path / "runs/not there yet", shared=tmp_path)

    rows = dict(sheet.rows)
    assert rows["disk"].startswith("60.0 GiB free of 100.0 GiB at ")
    assert rows["shared memory"] == f"60.0 GiB free of 100.0 GiB at {tmp_path}"
    assert any("trains in " in text for text in rows.values())
    assert sheet.problems == []


def test_each_card_is_shown_with_the_precision_that_it_trains_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names, capabilities = ("Tesla V100", "NVIDIA H200"), ((7, 0), (9, 0))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: names[number])
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capabilities[device.index])
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: SimpleNamespace(total_memory=(32 << 30) * (number + 1)))

    rows = dict(machine(tmp_path).rows)

    assert rows["card 0"] == "Tesla V100, 32.0 GiB, trains in fp16 (--trainer.precision auto)"
    assert rows["card 1"] == "NVIDIA H200, 64.0 GiB, trains in bf16 (--trainer.precision auto)"
    assert "precision" not in rows


def test_little_room_on_the_disk_or_in_shared_memory_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = tmp_path / "shm"
    shared.mkdir()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(64 << 20, 0, 64 << 20) if path == shared else Usage(9 << 30, 0, 4 << 30))

    disk, memory = machine(tmp_path, shared).problems

    assert disk.startswith(f"{tmp_path}: 4.0 GiB free; two checkpoints of base-size towers take 5.0 GiB: make room")
    assert memory.startswith(f"{shared}: 64 MiB free, ")
    assert "--shm-size 8g" in memory


def test_a_path_that_cannot_be_written_to_is_a_problem_and_no_shared_memory_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(100 << 30, 0, 100 << 30))
    (tmp_path / "file").write_text("")

    sheet = machine(tmp_path / "file/run", shared=tmp_path / "none")

    assert f"{tmp_path}/file is not a folder that you may write to; name another --out" in only(sheet)
    assert "cannot be known" in dict(sheet.rows)["shared memory"]
