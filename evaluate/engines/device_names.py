"""What a person may call a device."""

from __future__ import annotations

import re

DEVICES = "auto, cpu, cuda, or one of several cards as cuda:1"


def check_device(name: str) -> None:
    """Raises ValueError for a `name` that is none of `DEVICES`."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise ValueError(f"--device {name}: choose {DEVICES}")


def number_of(name: str, cards: int, who: str) -> int | None:
    """The card that `name` gives by number, None where it gives none. Raises ValueError where `who` does not see so many as `cards`."""
    number = name.partition(":")[2]
    if number and int(number) >= cards:
        raise ValueError(f"--device {name}: {who} sees {cards} here, numbered from 0")
    return int(number) if number else None
