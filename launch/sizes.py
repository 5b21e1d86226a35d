"""Sizes in words: "8GB" as a person writes it, and what a person reads."""

from __future__ import annotations

import os
import re

UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40}


def bytes_of(text: str, flag: str) -> int:
    """Bytes of a size such as "8GB", "500 MB", "1.5GiB" (GB = 10^9, GiB = 2^30 bytes), which was given as `flag`.

    Raises ValueError for anything else, and for nothing.
    """
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)", text.strip())
    if found is None or found[2].upper() not in UNITS or not (size := int(float(found[1]) * UNITS[found[2].upper()])):
        raise ValueError(f"{flag} {text}: give a size such as 500MB, 8GB or 1.5GiB")
    return size


def half_of_the_memory() -> int:
    """Bytes: half of what this machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def in_words(size: float) -> str:
    """`size` bytes for people: "512 B", "1.25 MB", "20.5 GB"."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
