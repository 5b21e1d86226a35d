"""Which GPU generations the builds of torch and FAISS can serve, and whether the cards of this machine are among them.

A card's generation is its compute capability, e.g. 7.0 for V100. A build holds machine code for some of them (sm_70: 7.0 and later
7.x) and perhaps PTX, which the driver turns into code for any later one (compute_90: 9.0 and up).
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from typing import NamedTuple

import torch

from evaluate.engines.faiss_loading import load_faiss
from launch.choose_builds import QUERY, choose
from pipeline.checkup.builds import SET_UP, installed_faiss
from pipeline.checkup.sheet import Sheet

FAISS_GPU_SERVES = ((7, 0), (9, 0))
"""What the official faiss-gpu holds code for; FAISS itself does not tell."""


class Card(NamedTuple):
    """A card of this machine."""

    name: str
    capability: tuple[int, int]

    def __str__(self) -> str:
        return f"{self.name} ({_dotted(self.capability)})"


def cards(listed: str | None = None, architectures: Sequence[str] | None = None) -> Sheet:
    """What the builds serve, what is here, and which card of this machine a build cannot use.

    Args:
        listed: what nvidia-smi says (None: it is asked), a line a card.
        architectures: what torch's build holds, e.g. ["sm_70", "compute_90"] (None: torch is asked).
    """
    sheet = Sheet("cards")
    listed = nvidia_smi() if listed is None else listed
    architectures = torch_architectures() if architectures is None else architectures
    sheet.row("torch serves", _served_by_torch(architectures))
    sheet.row("FAISS serves", _served_by_faiss())
    here = [card for card in map(_card, listed.splitlines()) if card]
    sheet.row("here", ", ".join(map(str, here)) or "no NVIDIA card that nvidia-smi lists")
    if len(here) < len([line for line in listed.splitlines() if line.strip()]):
        sheet.problem(choose(listed).reason)
    if here:
        _check_torch(sheet, here, architectures, listed)
        _check_faiss(sheet, here)
    return sheet


def serves(architectures: Sequence[str], capability: tuple[int, int]) -> bool:
    """Whether a build with these architectures runs on a card of that compute capability.

    Code runs on its own and later minor versions, code with a letter (sm_90a) on its own alone; PTX on its own and all later ones.
    """
    for architecture in architectures:
        found = re.fullmatch(r"(sm|compute)_([0-9]+)([0-9])([a-z]?)", architecture)
        if not found:
            continue
        own = int(found[2]), int(found[3])
        if own == capability:
            return True
        if not found[4] and (own < capability if found[1] == "compute" else own[0] == capability[0] and own[1] <= capability[1]):
            return True
    return False


def torch_architectures() -> list[str]:
    """What torch's build holds; empty for a build without CUDA, and where torch does not say."""
    if torch.version.cuda is None:
        return []
    # torch.cuda.get_arch_list gives nothing on a machine without a card, though the build is the same there.
    return torch.cuda.get_arch_list() or (getattr(torch._C, "_cuda_getArchFlags", str)() or "").split()


def nvidia_smi() -> str:
    """What nvidia-smi says of the cards of this machine, a line each; nothing where there is no such command."""
    try:
        done = subprocess.run(["nvidia-smi", f"--query-gpu={QUERY}", "--format=csv,noheader"], capture_output=True, text=True, timeout=60)
    except FileNotFoundError:
        return ""
    except subprocess.TimeoutExpired:
        return "nvidia-smi does not answer"
    return done.stdout.strip() or done.stderr.strip()


def _check_torch(sheet: Sheet, here: Sequence[Card], architectures: Sequence[str], listed: str) -> None:
    fitting = choose(listed)
    # The set-up would choose CPU builds here, too, and says why.
    remedy = fitting.reason if fitting.constraints == "constraints/cpu.txt" else f"{SET_UP}: {fitting.constraints}"
    if torch.version.cuda is None:
        sheet.problem(f"torch {torch.__version__} cannot use {here[0]}: it is a build without CUDA; {remedy}")
        return
    if not torch.cuda.is_available():
        built = f"torch {torch.__version__} for CUDA {torch.version.cuda} cannot start CUDA here, though nvidia-smi lists {here[0]}"
        sheet.problem(f"{built}; see CUDA_VISIBLE_DEVICES and the driver's version, or {remedy}")
    for card in here:
        if architectures and not serves(architectures, card.capability):
            sheet.problem(f"torch {torch.__version__} has no code for {card}; {remedy}")


def _check_faiss(sheet: Sheet, here: Sequence[Card]) -> None:
    if installed_faiss() != ["faiss-gpu"]:
        return
    lowest, highest = FAISS_GPU_SERVES
    for card in here:
        if not lowest <= card.capability < (highest[0] + 1, 0):
            where = f"{_dotted(lowest)} to {_dotted(highest)}"
            sheet.problem(f"the official faiss-gpu has code for {where} alone, not for {card}; use faiss-cpu (constraints/cuda13.txt has it)")


def _served_by_torch(architectures: Sequence[str]) -> str:
    if torch.version.cuda is None:
        return "no NVIDIA card: it is a build without CUDA"
    code = [_readable(name) for name in architectures if name.startswith("sm_")]
    later = [_readable(name) for name in architectures if name.startswith("compute_")]
    if not code and not later:
        return "cannot be known: this build does not say for which cards it has code"
    return f"compute capability {', '.join(code)}" + (f", and by PTX {' and '.join(later)} and up" if later else "")


def _served_by_faiss() -> str:
    try:
        on_cards = hasattr(load_faiss(), "StandardGpuResources")
    except ImportError:
        return "cannot be known: it does not load"
    if not on_cards:
        return "no card: it is a CPU build; searches run on the processor"
    if installed_faiss() == ["faiss-gpu"]:
        lowest, highest = map(_dotted, FAISS_GPU_SERVES)
        return f"compute capability {lowest} to {highest} if it is the official build; it does not say so itself"
    return "cannot be known: this build does not say for which cards it has code"


def _readable(architecture: str) -> str:
    number = architecture.partition("_")[2]
    digits = number.rstrip("abcdefghijklmnopqrstuvwxyz")
    return f"{digits[:-1]}.{digits[-1:]}{number[len(digits) :]}"


def _dotted(capability: tuple[int, int]) -> str:
    return f"{capability[0]}.{capability[1]}"


def _card(line: str) -> Card | None:
    found = re.fullmatch(r"(.+), *([0-9]+)\.([0-9]+), *[0-9.]+", line.strip())
    return Card(found[1], (int(found[2]), int(found[3]))) if found else None
