"""FAISS's indexes: made from a factory string, written, mapped, searched among some of their rows. Legend: N vectors, D width."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from evaluate.engines.faiss_loading import load_faiss

ROTATION_ROUNDS, ROTATION_FIRST, ROTATION_SAMPLE = 8, 10, 10_240
"""OPQ alternates between rotation and codes; FAISS's own 50 rounds, the first of 40 iterations, over 65,536 vectors take minutes at width 512."""
POINTS_A_CODE = 100
"""Vectors for each of a sub-quantizer's 256 centroids; FAISS's own 256 take two and a half times as long."""


@contextmanager
def in_one_line(what: str) -> Iterator[None]:
    """Turns FAISS's exceptions into ValueError: `what`, and the reason without the place in FAISS's source."""
    try:
        yield
    except RuntimeError as error:
        reason = re.sub(r"^Error in .* at \S+:\d+: (Error: )?", "", str(error).strip().splitlines()[0])
        raise ValueError(f"{what}: FAISS says {reason}") from error


def make(factory: str, dim: int, seed: int) -> Any:
    """An empty index of inner products by FAISS's factory string.

    With inner products FAISS clusters by direction: the centroids of the lists have length 1, and a vector of any length belongs to the
    list with whose centroid its product is greatest; queries look into the lists with whose centroids their products are.

    Raises ValueError where FAISS does not know the string.
    """
    faiss = load_faiss()
    with in_one_line(f"--index {factory}: neither the folder of an index nor a factory string for width {dim}"):
        index = faiss.index_factory(dim, factory, faiss.METRIC_INNER_PRODUCT)
    if (ivf := faiss.try_extract_index_ivf(index)) is not None:
        ivf.cp.seed = seed
        if isinstance(ivf, faiss.IndexIVFPQ):
            ivf.pq.cp.max_points_per_centroid = POINTS_A_CODE
    if isinstance(index, faiss.IndexPreTransform):
        for number in range(index.chain.size()):
            rotation = faiss.downcast_VectorTransform(index.chain.at(number))
            if isinstance(rotation, faiss.OPQMatrix):
                rotation.niter, rotation.niter_pq_0, rotation.max_train_points = ROTATION_ROUNDS, ROTATION_FIRST, ROTATION_SAMPLE
    return index


def trained_lists(index: Any) -> int:
    """Inverted lists of `index` with a centroid each to be trained, 0 where it has none."""
    faiss = load_faiss()
    ivf = faiss.try_extract_index_ivf(index)
    # Where a quantizer trains itself (IMI) its lists are combinations of fewer centroids.
    return 0 if ivf is None or ivf.quantizer_trains_alone == 1 else ivf.nlist


def write_index(index: Any, path: Path) -> None:
    """Write `index` to the file `path`."""
    with in_one_line(f"{path}: not written"):
        load_faiss().write_index(index, str(path))


def read_index(path: Path, mapped: bool = True) -> Any:
    """The index in the file `path`; `mapped`: vectors, codes, lists and links are searched where they lie, and pages that are asked for are read.

    Before version 1.11 FAISS maps lists alone and reads anything else into memory.
    """
    faiss = load_faiss()
    flags = getattr(faiss, "IO_FLAG_MMAP_IFC", faiss.IO_FLAG_MMAP) if mapped else 0
    with in_one_line(f"{path}: not a whole index"):
        return faiss.read_index(str(path), flags)


def among(index: Any, allowed: np.ndarray) -> Any:
    """FAISS's search parameters by which `index`, set as it is, finds only the rows that `allowed` (bool [N]) is true for.

    The best k of a share s of the rows lie about as far away as the best k / s of all: 1 / s times as many lists are looked into, and a graph
    is walked so much farther.
    """
    selector = load_faiss().IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
    return _parameters(index, selector, len(allowed) / max(1, int(allowed.sum())))


def _parameters(index: Any, selector: Any, wider: float) -> Any:
    """Parameters of one search replace all that is set in the index, so they are copied."""
    faiss = load_faiss()
    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexPreTransform):
        return faiss.SearchParametersPreTransform(index_params=_parameters(index.index, selector, wider))
    if isinstance(index, faiss.IndexRefine):
        return faiss.IndexRefineSearchParameters(k_factor=index.k_factor, base_index_params=_parameters(index.base_index, selector, wider))
    if isinstance(index, faiss.IndexIVF):
        return faiss.SearchParametersIVF(sel=selector, nprobe=min(index.nlist, math.ceil(wider * index.nprobe)), max_codes=index.max_codes)
    if isinstance(index, faiss.IndexHNSW):
        return faiss.SearchParametersHNSW(sel=selector, efSearch=min(index.ntotal, math.ceil(wider * index.hnsw.efSearch)))
    return faiss.SearchParameters(sel=selector)
