from __future__ import annotations

import numpy as np
import pytest

from benchmarks.search_scale import build_index, exact, search_index, write_corpus
from evaluate.dump import Dump
from launch.files import checksum


def test_a_corpus_is_written_once_and_always_alike(tmp_path):
    for name in ("one", "other"):
        write_corpus(tmp_path / name, 900, 16, 40)
    stamp = (tmp_path / "one" / "goods" / "goods-000000.h5").stat()
    write_corpus(tmp_path / "one", 900, 16, 40)

    assert (tmp_path / "one" / "goods" / "goods-000000.h5").stat() == stamp
    for file in ("goods/goods-000000.h5", "video/video-000000.h5"):
        assert checksum(tmp_path / "one" / file) == checksum(tmp_path / "other" / file)
    goods, clips = Dump(tmp_path / "one" / "goods"), Dump(tmp_path / "one" / "video")
    assert (goods.rows, goods.dtype, clips.rows) == (900, "float16", 40)
    [(_, rows)] = goods.blocks()
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-3)


def test_an_index_is_measured_beside_exact_search(tmp_path):
    write_corpus(tmp_path, 2000, 16, 60)

    found = exact(tmp_path, "faiss", 10)
    built = build_index(tmp_path, "IVF16,SQ8", 10, 0.9)
    searched = search_index(tmp_path, 10)

    assert found["recall"] == 1 and np.load(tmp_path / "exact.npy").shape == (60, 10)
    assert 0.85 < searched["recall"] <= 1 and built["bytes"] == (tmp_path / "index" / "index.faiss").stat().st_size
    assert searched["recall"] == pytest.approx(built["card_recall"], abs=0.1)
