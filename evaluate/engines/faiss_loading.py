"""FAISS, loaded at the first search and nowhere else."""

from __future__ import annotations

import functools
from types import ModuleType


@functools.cache
def load_faiss() -> ModuleType:
    """The module `faiss`.

    Where a process uses both, torch must be loaded first: each brings its own OpenMP runtime, and the other order has crashed (FAISS
    issue 4273). Training imports torch long before it searches; the search command needs no torch and is spared its seconds and memory.
    """
    import faiss

    # Products of all queries with so many documents at a time: four times FAISS's own choice saves a tenth of a search for long lists.
    faiss.cvar.distance_compute_blas_database_bs = 4096
    return faiss
