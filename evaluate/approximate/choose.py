"""Which index: rules from number, width, memory and wanted recall; the recall that is measured afterwards has the last word.

Preferred is the kind that answers a single query soonest among those that fit: a graph, then lists of whole vectors, of 8-bit components,
of product codes from short to long, whose candidates are re-ranked by exact scores from the dump. Where the wanted recall is not reached
the next one is built; exact Flat is the last. What a kind can reach (`recall`) are our rules of thumb, not measurements.
Legend: N vectors, D width, k results.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from evaluate.approximate.cost import flat_bytes, graph_bytes, lists_bytes, product_tables, scalar_tables
from launch.sizes import in_words

FEW_VECTORS = 20_000
"""Up to so many vectors nothing is gained by leaving some out."""
POINTS_A_LIST = 39
"""Vectors that FAISS wants for each centroid it trains."""
MOST_LISTS = 1 << 16
GRAPH_LINKS = 32
GRAPH_RESULTS = 100
"""A graph is walked one vector after another: beyond so many results lists are read faster."""
GRAPH_VECTORS = 1_000_000
"""A graph's building takes a search for each vector: beyond so many, hours."""


@dataclass(frozen=True)
class Candidate:
    """An index that could be built."""

    kind: str
    """What people call it."""
    factory: str
    """FAISS's factory string."""
    bytes: int
    """In memory, by `cost.py`."""
    recall: float
    """Most that it is trusted to reach."""
    rerank: bool
    """Whether its candidates are re-ranked by exact scores from the dump."""

    def __str__(self) -> str:
        return f"{self.factory}{', re-ranked from the dump' if self.rerank else ''} ({in_words(self.bytes)})"


@dataclass(frozen=True)
class Choice:
    """The indexes to try, best first, and a line for people that says why."""

    candidates: tuple[Candidate, ...]
    why: str


def choose(number: int, dim: int, memory: int, recall: float, k: int, rerank: bool = True) -> Choice:
    """The candidates that fit `memory` bytes and are trusted to reach `recall`, in the order in which to try them.

    Args:
        number: N; dim: D; k: results a query.
        rerank: False where the dump will not be at hand in search: codes must then rank by themselves.

    Raises ValueError where none fits, naming the smallest and what to do.
    """
    check_recall(recall)
    kinds = _kinds(number, dim, rerank)
    able = [kind for kind in kinds if kind.recall >= recall]
    fitting = [kind for kind in able if kind.bytes <= memory]
    if number > FEW_VECTORS:
        if k > GRAPH_RESULTS or number > GRAPH_VECTORS:
            fitting = [kind for kind in fitting if kind.kind != "HNSW"]
    else:
        fitting = [kind for kind in fitting if kind.kind == "Flat"] or fitting
    asked = f"{number} x {dim}, {in_words(memory)}, recall@{k} {recall:g}"
    if not fitting:
        least = min(able, key=lambda kind: kind.bytes)
        raise ValueError(
            f"--memory {in_words(memory)} is too little for an index of recall {recall:g} of {number} x {dim}: the smallest is {least}; give more, "
            f"ask less recall{'' if rerank else ', allow re-ranking'}, or leave --index out (exact search streams)"
        )
    return Choice(tuple(fitting), "; ".join([f"{asked}: {fitting[0]}", *_why_not(kinds, fitting[0], memory, recall, number, k)]))


def check_recall(recall: float) -> None:
    """Raise ValueError where `recall` is not a share that can be wanted."""
    if not 0 < recall <= 1:
        raise ValueError(f"--recall {recall:g}: the share of the exact results to find, more than 0 and at most 1, e.g. 0.95")


def lists_for(number: int) -> int:
    """Lists for N vectors: the power of two nearest 4 sqrt(N), with at least 39 vectors a list."""
    wanted = 2 ** round(math.log2(4 * math.sqrt(number)))
    most = 2 ** math.floor(math.log2(max(1, number // POINTS_A_LIST)))
    return max(1, min(wanted, most, MOST_LISTS))


def _kinds(number: int, dim: int, rerank: bool) -> list[Candidate]:
    """All kinds, in order of preference."""
    lists = lists_for(number)
    kinds = [
        Candidate("HNSW", f"HNSW{GRAPH_LINKS}", graph_bytes(number, dim, GRAPH_LINKS), 0.99, False),
        Candidate("IVF-Flat", f"IVF{lists},Flat", lists_bytes(number, dim, lists, 4 * dim), 0.999, False),
        Candidate("IVF-SQ8", f"IVF{lists},SQ8", lists_bytes(number, dim, lists, dim, scalar_tables(dim)), 0.995 if rerank else 0.95, rerank),
    ]
    for part, reranked, alone in ((8, 0.95, 0.5), (4, 0.97, 0.7), (2, 0.99, 0.85)):
        pieces = max(pieces for pieces in range(1, max(1, dim // part) + 1) if dim % pieces == 0)
        factory = f"OPQ{pieces},IVF{lists},PQ{pieces}np"
        size = lists_bytes(number, dim, lists, pieces, product_tables(dim))
        kinds.append(Candidate("IVF-PQ", factory, size, reranked if rerank else alone, rerank))
    # Small widths have few divisors, so that two of these may be one.
    kinds = list({kind.factory: kind for kind in kinds}.values())
    return [*kinds, Candidate("Flat", "Flat", flat_bytes(number, dim), 1.0, False)]


def _why_not(kinds: list[Candidate], chosen: Candidate, memory: int, recall: float, number: int, k: int) -> list[str]:
    """Why each kind that would have been preferred is not chosen."""
    reasons: dict[str, str] = {}
    for kind in kinds[: kinds.index(chosen)]:
        if kind.bytes > memory:
            reasons[kind.kind] = f"{kind.kind} needs {in_words(kind.bytes)}"
        elif kind.recall < recall:
            reasons[kind.kind] = f"{kind.kind} is trusted with recall {kind.recall:g} at most"
        elif number <= FEW_VECTORS:
            reasons[kind.kind] = f"{kind.kind} saves nothing on so few vectors"
        else:
            reasons[kind.kind] = f"{kind.kind} is slow to {'search for so many results' if k > GRAPH_RESULTS else 'build of so many vectors'}"
    return list(reasons.values())
