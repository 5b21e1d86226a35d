"""Bytes that an index takes in memory, kind by kind, before it is built. What FAISS stores, written down:

    Flat            N 4D                                          float32 vectors
    IVF,code        N (code + 8) + L (4D + 48)                    a code and an int64 row each; a float32 centroid and two headers a list
    code of Flat 4D, of SQ8 D (and 8D for all), of PQm m (and 4 256 D for all); OPQ adds a float32 rotation, 4 D^2
    HNSWm           N (4D + 8m + 4m / (m - 1) + 12)               vector, 2m links at the bottom, m on each higher level, where a
                                                                  vector stands with probability 1/m, 1/m^2, ...; offset and level

Queries, results and the candidates of a batch that are re-ranked from the dump come on top (bounded, `rerank.py`); so do, while an index is
built, the sample it is trained on, and up to as much again as the lists, which grow by doubling.
Legend: N vectors, D width, L lists, m sub-quantizers or links.
"""

from __future__ import annotations

LIST_HEADERS = 48


def flat_bytes(number: int, dim: int) -> int:
    """Of `Flat`."""
    return number * 4 * dim


def graph_bytes(number: int, dim: int, links: int) -> int:
    """Of `HNSW<links>`."""
    return int(number * (4 * dim + 8 * links + 4 * links / (links - 1) + 12))


def lists_bytes(number: int, dim: int, lists: int, code: int, tables: int = 0) -> int:
    """Of `IVF<lists>` with `code` bytes a vector and `tables` bytes once."""
    return number * (code + 8) + lists * (4 * dim + LIST_HEADERS) + tables


def scalar_tables(dim: int) -> int:
    """Bytes that SQ8 needs once: least value and range of each component."""
    return 8 * dim


def product_tables(dim: int) -> int:
    """Bytes that PQ (256 centroids a sub-quantizer) and OPQ's rotation need once."""
    return 4 * 256 * dim + 4 * dim * dim
