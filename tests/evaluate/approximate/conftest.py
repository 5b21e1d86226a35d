"""One corpus and one index of it for the tests of this room."""

from __future__ import annotations

from pathlib import Path

import pytest

from evaluate.approximate.build import Wanted, build
from evaluate.dump import Dump
from tests.evaluate.approximate.corpus import clips_of, goods_and_clips, goods_of


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Dump:
    """Goods and clips; tests read it alone."""
    return goods_and_clips(tmp_path_factory.mktemp("corpus") / "dump")


@pytest.fixture(scope="session")
def lists_index(corpus: Dump, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of the corpus' goods by lists of 8-bit codes, re-ranked; tests read it alone."""
    folder = tmp_path_factory.mktemp("index") / "index"
    build(goods_of(corpus), folder, Wanted("IVF32,SQ8", top_k=20), clips_of(corpus), quiet=True)
    return folder
