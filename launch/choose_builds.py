"""Which torch and FAISS builds serve the cards of this machine: `nvidia-smi --query-gpu=... | python launch/choose_builds.py`.

Reads what nvidia-smi says on standard input (nothing where there is no card) and prints two lines: a constraints file and the reason.
Runs before anything is installed: standard library only.
"""

from __future__ import annotations

import re
import sys
from typing import NamedTuple

QUERY = "name,compute_cap,driver_version"
"""The fields that `nvidia-smi --query-gpu=QUERY --format=csv,noheader` is asked for."""

CUDA12_DRIVER = 525
CUDA13_DRIVER = 580


class Choice(NamedTuple):
    """A constraints file, relative to the checkout, and why it was chosen."""

    constraints: str
    reason: str


class Card(NamedTuple):
    """One card: its name, compute capability (major, minor) and the major version of its driver."""

    name: str
    capability: tuple[int, int]
    driver: int


def choose(nvidia_smi: str) -> Choice:
    """The builds for the cards that `nvidia_smi` (one line a card: QUERY) lists; CPU builds where no known pair serves all of them."""
    lines = [line.strip() for line in nvidia_smi.splitlines() if line.strip()]
    if not lines:
        return Choice("constraints/cpu.txt", "no NVIDIA card was found: CPU builds")
    cards = [card for card in map(_card, lines) if card]
    if len(cards) < len(lines):
        unread = next(line for line in lines if not _card(line))
        return Choice("constraints/cpu.txt", f"nvidia-smi is here, but said {unread!r}: CPU builds; mend the driver and run launch/setup.sh again")
    lowest, highest = min(cards, key=lambda card: card.capability), max(cards, key=lambda card: card.capability)
    driver = min(card.driver for card in cards)
    if lowest.capability >= (7, 0) and highest.capability < (10, 0):
        return _with_driver("constraints/cuda12.txt", "CUDA 12 builds, which have kernels for 7.0 to 9.0", CUDA12_DRIVER, lowest, driver)
    if lowest.capability >= (10, 0):
        return _with_driver("constraints/cuda13.txt", "a CUDA 13 build of torch; FAISS searches on the CPU", CUDA13_DRIVER, lowest, driver)
    spread = _named(lowest) if lowest.capability == highest.capability else f"{_named(lowest)} beside {_named(highest)}"
    known = "no known pair of torch and FAISS builds serves that, so CPU builds; REELGOODS_CONSTRAINTS=FILE takes yours"
    return Choice("constraints/cpu.txt", f"{spread}: {known}")


def _with_driver(constraints: str, builds: str, needed: int, card: Card, driver: int) -> Choice:
    if driver < needed:
        old = f"driver {driver} is older than the {needed} that {constraints} needs"
        return Choice("constraints/cpu.txt", f"{_named(card)}: {old}: CPU builds until it is updated")
    return Choice(constraints, f"{_named(card)}, driver {driver}: {builds}")


def _named(card: Card) -> str:
    return f"{card.name} (compute capability {card.capability[0]}.{card.capability[1]})"


def _card(line: str) -> Card | None:
    found = re.fullmatch(r"(.+?), *(\d+)\.(\d+), *(\d+)(?:\.\d+)*", line)
    return Card(found[1], (int(found[2]), int(found[3])), int(found[4])) if found else None


if __name__ == "__main__":
    print(*choose(sys.stdin.read()), sep="\n")
