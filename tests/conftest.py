"""Fixtures shared by all rooms."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Tests run side by side, a process a core (make check): more threads than cores would wait for each other by spinning.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real data that REELGOODS_TEST_DATA names (`data/`, `models/`, `parity/` below it); skips where it is not set."""
    named = os.environ.get("REELGOODS_TEST_DATA")
    if not named:
        pytest.skip("REELGOODS_TEST_DATA is not set: this test reads real photos, videos or parity vectors")
    folder = Path(named)
    assert folder.is_dir(), f"REELGOODS_TEST_DATA={named} is not a folder"
    return folder
