"""Fixtures shared by all rooms."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from _pytest.terminal import TerminalReporter

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


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of a file stay in one process, since they share fixtures; so do all tests of many ranks, which share torchrun jobs.

    First of its kind: what deals tests out to processes looks at the groups in a hook of the same name.
    """
    for item in items:
        on_ranks = hasattr(item, "module") and hasattr(item.module, "commands_for")
        item.add_marker(pytest.mark.xdist_group("ranks" if on_ranks else item.nodeid.partition("::")[0]))


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu"):
        import torch  # here: most tests of a run need no card, and some no torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA card")


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """What was not run for want of a card, by name: a green run without one has not seen it."""
    unseen = sorted(report.nodeid.partition("@")[0] for report in terminalreporter.stats.get("skipped", []) if "gpu" in report.keywords)
    if unseen:
        terminalreporter.section(f"not run for want of a CUDA card: {len(unseen)} tests")
        for name in unseen:
            terminalreporter.write_line(name)
