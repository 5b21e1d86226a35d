"""Versions and builds of what everything here stands on, as the packages say themselves."""

from __future__ import annotations

import importlib
import platform
import sys
from importlib import metadata

import torch

from evaluate.engines.faiss_loading import load_faiss
from pipeline.checkup.sheet import Sheet

SET_UP = "run bash launch/setup.sh, which installs what fits this machine"
FAISS_PACKAGES = ("faiss-cpu", "faiss-gpu", "faiss-gpu-cuvs")
DECODERS = (("decord", "decord"), ("PyAV", "av"))
"""Name, and package, which is the module. Loaded, not only looked up: the FFmpeg in them may not suit this machine."""
PLAIN = ("transformers", "webdataset", "h5py")


def builds() -> Sheet:
    """Versions of Python, torch and its CUDA libraries, FAISS, and what reads data; what is missing or does not load is a problem."""
    sheet = Sheet("versions and builds")
    sheet.row("Python", f"{platform.python_version()}, {sys.executable}")
    sheet.row("torch", f"{torch.__version__}, {torch_build()}")
    with sheet.noting("FAISS", SET_UP):
        faiss = load_faiss()
        sheet.row("FAISS", f"{faiss.__version__}, {faiss_build()}, {' '.join(faiss.get_compile_options().split())}")
    installed = installed_faiss()
    if len(installed) > 1:
        sheet.problem(f"{' and '.join(installed)} are installed together, and write the same folder; remove .venv and {SET_UP}")
    for name in PLAIN:
        _note_version(sheet, name, name)
    for name, package in DECODERS:
        with sheet.noting(name, SET_UP):
            ffmpeg = getattr(importlib.import_module(package), "ffmpeg_version_info", "not said")
            _note_version(sheet, name, package, f", FFmpeg {ffmpeg}")
    return sheet


def torch_build() -> str:
    """For which processors torch was built, with the versions of CUDA, cuDNN and NCCL that it was built with."""
    if torch.version.cuda is None:
        return f"ROCm {torch.version.hip} build" if torch.version.hip else "CPU build: no CUDA, cuDNN or NCCL in it"
    nccl = ".".join(map(str, torch.cuda.nccl.version())) if torch.distributed.is_nccl_available() else "none"
    return f"CUDA {torch.version.cuda}, cuDNN {cudnn_version(torch.backends.cudnn.version())}, NCCL {nccl}"


def cudnn_version(number: int | None) -> str:
    """The number that torch gives as people write it: 91002 is 9.10.2, 8902 is 8.9.2."""
    if number is None:
        return "none"
    major, rest = divmod(number, 10000 if number >= 90000 else 1000)
    return f"{major}.{rest // 100}.{rest % 100}"


def faiss_build() -> str:
    """GPU or CPU build, and the package that it came in."""
    package = " and ".join(installed_faiss()) or "of no package that is known here"
    return f"{'GPU' if hasattr(load_faiss(), 'StandardGpuResources') else 'CPU'} build ({package})"


def installed_faiss() -> list[str]:
    """The FAISS packages that are installed; one too many spoils the others."""
    return [package for package in FAISS_PACKAGES if _version(package) is not None]


def _note_version(sheet: Sheet, name: str, package: str, rest: str = "") -> None:
    version = _version(package)
    if version is None:
        sheet.problem(f"{name} is not installed; {SET_UP}")
    else:
        sheet.row(name, version + rest)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
