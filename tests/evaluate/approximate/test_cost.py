from __future__ import annotations

import numpy as np
import pytest

from evaluate.approximate.cost import flat_bytes, graph_bytes, lists_bytes, product_tables, scalar_tables
from evaluate.approximate.faiss_index import make, write_index

NUMBER, DIM = 4000, 64

KINDS = {
    "Flat": flat_bytes(NUMBER, DIM),
    "HNSW16": graph_bytes(NUMBER, DIM, 16),
    "IVF32,Flat": lists_bytes(NUMBER, DIM, 32, 4 * DIM),
    "IVF32,SQ8": lists_bytes(NUMBER, DIM, 32, DIM, scalar_tables(DIM)),
    "OPQ8,IVF32,PQ8np": lists_bytes(NUMBER, DIM, 32, 8, product_tables(DIM)),
}


@pytest.mark.parametrize("factory", KINDS)
def test_the_bytes_on_paper_are_those_that_faiss_stores(tmp_path, factory):
    rows = np.random.default_rng(0).standard_normal((NUMBER, DIM)).astype(np.float32)
    index = make(factory, DIM, 0)
    index.train(rows[:300])
    index.add(rows)

    write_index(index, tmp_path / "index")

    assert (tmp_path / "index").stat().st_size == pytest.approx(KINDS[factory], rel=0.03)
