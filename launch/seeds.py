"""Randomness that follows from names: the same (seed, epoch, item id) draws the same numbers on any rank and any worker."""

from __future__ import annotations

import hashlib
import random

import numpy as np


def generator(*parts: int | str) -> np.random.Generator:
    """A NumPy generator that depends on `parts` alone, e.g. `generator(seed, epoch, item.id)`."""
    digest = hashlib.blake2b("\x1f".join(map(str, parts)).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "little")))


def seed_everything(seed: int, rank: int = 0) -> None:
    """Seed Python, NumPy and torch (all devices). `rank` separates the ranks' dropout; weights are equal, since DDP sends rank 0's."""
    import torch

    own = (seed * 1_000_003 + rank) % 2**32
    random.seed(own)
    np.random.seed(own)
    torch.manual_seed(own)
