"""Inner products of single pairs in float32, each summed in an order that follows from its width alone.

A matrix routine may round a sum differently at the edge of a block or with another number of threads; these do not, so that lists, down to
the last bit of a score, do not depend on blocks, threads, ranks, or which engine found the candidates. Legend: n pairs, D width.
"""

from __future__ import annotations

import numpy as np

from evaluate.engines.faiss_loading import load_faiss


def pair_products(queries: np.ndarray, query_rows: np.ndarray, docs: np.ndarray, doc_rows: np.ndarray) -> np.ndarray:
    """float32 [n]: of queries[query_rows[i]] and docs[doc_rows[i]]; both sides float32 [., D] row by row, the rows int64 [n]."""
    faiss = load_faiss()
    assert queries.flags.c_contiguous and docs.flags.c_contiguous and queries.dtype == docs.dtype == np.float32
    products = np.empty(len(query_rows), np.float32)
    if len(products):
        given = [np.ascontiguousarray(rows, np.int64) for rows in (query_rows, doc_rows)]
        point = faiss.swig_ptr
        arguments = (point(queries), point(given[0]), point(docs), point(given[1]), point(products))
        faiss.pairwise_indexed_inner_product(docs.shape[1], len(products), *arguments)
    return products


def longest_of(docs: np.ndarray) -> float:
    """Length of the longest of `docs` float32 [n, D], n > 0, as float32 has it."""
    faiss = load_faiss()
    squares = np.empty(len(docs), np.float32)
    faiss.fvec_norms_L2sqr(faiss.swig_ptr(squares), faiss.swig_ptr(docs), docs.shape[1], len(docs))
    return float(np.sqrt(squares.max()))
