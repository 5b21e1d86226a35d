"""Exact inner-product search: the best k documents of each query, over documents that come in blocks. FAISS is the engine.

The order of a result is fixed: score descending, documents of equal score by row ascending; neither the size of the blocks nor the
number of threads shows in it (but for the last bit of a sum of products, which the processor's matrix routine may round differently
at the edge of a block). Legend: Q queries, N documents, n rows of a block, D width, k results a query.
"""

from __future__ import annotations

import functools
from types import ModuleType

import numpy as np

from launch.logs import say

QUERIES_AT_ONCE = 1024
GPU_MOST_RESULTS = 2048
TIE_BYTES = 1 << 24
NOTHING = np.uint64(0xFFFF_FFFF_FFFF_FFFF)


@functools.cache
def engine() -> ModuleType:
    """FAISS, loaded at the first search and nowhere else.

    Where a process uses both, torch must be loaded first: each brings its own OpenMP runtime, and the other order has crashed (FAISS
    issue 4273). Training imports torch long before it searches; the search command needs no torch and is spared its seconds and memory.
    """
    import faiss

    # Products of all queries with so many documents at a time: four times FAISS's own choice saves a tenth of a search for long lists.
    faiss.cvar.distance_compute_blas_database_bs = 4096
    return faiss


def search_arrays(queries: np.ndarray, docs: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """(scores float32 [Q, k], rows int64 [Q, k]) of the best k documents of each query, best first; k is capped at N.

    Args:
        queries: [Q, D], any float type; the arithmetic is float32.
        docs: [N, D].
    """
    best = Best(queries, min(k, len(docs)))
    best.add(docs, 0)
    return best.result()


class Best:
    """The best k documents of each query so far. Memory: queries, 8 Q k bytes, and buffers that depend on k alone.

    Score and row are kept as one number, sortable as a whole: (score, turned so that a better one is smaller) * 2^32 + row.

    Args:
        queries: [Q, D], any float type.
        k: results a query, at least 1.
    """

    def __init__(self, queries: np.ndarray, k: int) -> None:
        if k < 1:
            raise ValueError(f"the best {k} documents: at least 1")
        self._queries = np.ascontiguousarray(queries, np.float32)
        self._keys = np.full((len(queries), k), NOTHING)
        self._k = k
        self._next_row = 0
        self._gpu = _gpu_resources(k)

    def add(self, block: np.ndarray, first_row: int) -> None:
        """Let the documents `block` [n, D], whose rows start at `first_row`, compete; blocks come in ascending order of rows.

        Raises ValueError for scores that are not finite.
        """
        assert first_row >= self._next_row, f"rows from {first_row} on after those up to {self._next_row}"
        self._next_row = first_row + len(block)
        if block.ndim != 2 or block.shape[1] != self._queries.shape[1]:
            raise ValueError(f"documents of shape {list(block.shape)}, queries of shape {list(self._queries.shape)}: widths differ")
        if self._next_row >= 2**32:
            raise ValueError(f"{self._next_row} documents: at most 2^32 documents are searched at once; search parts of them")
        block = np.ascontiguousarray(block, np.float32)
        for begin in range(0, len(self._queries), QUERIES_AT_ONCE):
            chosen = slice(begin, begin + QUERIES_AT_ONCE)
            keys = self._best_of_block(self._queries[chosen], block, first_row, worst=self._keys[chosen, -1])
            keys = np.concatenate([self._keys[chosen], keys], axis=1)
            keys.sort(axis=1)
            self._keys[chosen] = keys[:, : self._k]

    def result(self) -> tuple[np.ndarray, np.ndarray]:
        """(scores float32 [Q, k], rows int64 [Q, k]), best first; -inf and -1 past the last document."""
        return _scores_of(self._keys), _rows_of(self._keys)

    def _best_of_block(self, queries: np.ndarray, block: np.ndarray, first_row: int, worst: np.ndarray) -> np.ndarray:
        """Keys [Q, min(k, n)] of the block's best, in any order.

        FAISS is asked for one more than k: where the last two scores are equal it chose among equals by chance, and the choice is made
        again by row, unless the query has k from lower rows already that are as good (`worst` [Q] is its last key so far).
        """
        wanted = min(self._k + 1, len(block))
        if self._gpu is None:
            scores, rows = engine().knn(queries, block, wanted, metric=engine().METRIC_INNER_PRODUCT)
        else:
            scores, rows = engine().knn_gpu(self._gpu, queries, block, wanted, metric=engine().METRIC_INNER_PRODUCT)
        if not np.isfinite(scores).all():
            raise ValueError("inner products are too large for float32 or not numbers; normalise the embeddings")
        keys = _keys_of(scores, rows + first_row)
        if wanted <= self._k:
            return keys
        last = keys[:, -2:] >> np.uint64(32)
        tied = np.flatnonzero((last[:, 0] == last[:, 1]) & (last[:, 0] < worst >> np.uint64(32)))
        pieces = -(-len(tied) * len(block) * 4 // TIE_BYTES)
        for piece in np.array_split(tied, pieces) if pieces else []:
            keys[piece, :-1] = _best_with_ties(queries[piece] @ block.T, self._k, first_row)
        return keys[:, :-1]


def _best_with_ties(scores: np.ndarray, k: int, first_row: int) -> np.ndarray:
    """Keys [Q, k], in any order, of the best k of each row of `scores` [Q, n], n > k, where many may be equal."""
    keys = _keys_of(scores, np.arange(first_row, first_row + scores.shape[1]))
    keys.partition(k - 1, axis=1)
    return keys[:, :k]


def _keys_of(scores: np.ndarray, rows: np.ndarray) -> np.ndarray:
    # Adding 0 makes -0 into 0. An IEEE float's bits sort like its value once negative ones are inverted and the sign of others is set.
    bits = (scores + np.float32(0)).view(np.uint32)
    ascending = bits ^ np.where(bits >> 31, np.uint32(0xFFFFFFFF), np.uint32(0x80000000))
    keys = (~ascending).astype(np.uint64)
    keys <<= np.uint64(32)
    keys |= rows.astype(np.uint64)
    return keys


def _scores_of(keys: np.ndarray) -> np.ndarray:
    ascending = ~(keys >> np.uint64(32)).astype(np.uint32)
    bits = ascending ^ np.where(ascending >> 31, np.uint32(0x80000000), np.uint32(0xFFFFFFFF))
    scores = bits.view(np.float32)
    scores[keys == NOTHING] = -np.inf
    return scores


def _rows_of(keys: np.ndarray) -> np.ndarray:
    rows = (keys & np.uint64(0xFFFFFFFF)).astype(np.int64)
    rows[keys == NOTHING] = -1
    return rows


def _gpu_resources(k: int) -> object | None:
    faiss = engine()
    if not hasattr(faiss, "get_num_gpus") or faiss.get_num_gpus() == 0:
        return None
    if k >= GPU_MOST_RESULTS:
        say(f"the best {k} of each query are searched on the CPU: FAISS finds at most {GPU_MOST_RESULTS - 1} in fixed order on a GPU")
        return None
    return faiss.StandardGpuResources()
