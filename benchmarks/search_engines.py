"""Seconds of an exact search: FAISS's flat index beside the torch engine, in one run, over the same vectors in memory.

    python benchmarks/search_engines.py [--docs 177839 --dim 512 --queries 2000 --k 100 --rounds 5]

The vectors are synthetic: unit length, around a thousand centres. After a warm-up the sides take turns, and each one's fastest round counts.
FAISS's time is `IndexFlatIP.search` alone, the documents added before; the torch engine's is everything from the float32 documents on,
and its parts are those of that round: preparing (lengths, rounding to half precision), product, selection, re-scoring, merge.

`identical_ids`: at every place of every list both name the same document, or two that tie: whose scores in float64 are closer than what
float32 sums may be off. `places_apart` is the share of places with such ties, `widest_tie` the largest difference of their scores.
The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

if not __package__:  # run by its path
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

CENTRES = 1000
ROWS_AT_ONCE = 16384


def clustered(random: np.random.Generator, rows: int, centres: np.ndarray) -> np.ndarray:
    """float32 [rows, D] of length 1, each around one of the `centres`."""
    made = np.empty((rows, centres.shape[1]), np.float32)
    for first in range(0, rows, ROWS_AT_ONCE):
        part = made[first : first + ROWS_AT_ONCE]
        random.standard_normal(out=part, dtype=np.float32)
        part += centres[random.integers(0, len(centres), len(part))]
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return made


def timed(search: Callable[[], tuple[np.ndarray, np.ndarray]]) -> tuple[float, np.ndarray]:
    """(seconds, rows found)."""
    started = time.perf_counter()
    _, rows = search()
    return time.perf_counter() - started, rows


def compare(queries: np.ndarray, docs: np.ndarray, ours: np.ndarray, theirs: np.ndarray) -> dict[str, Any]:
    """identical_ids, places_apart, widest_tie of two lists of rows [Q, k]."""
    from evaluate.engines.rounding import gamma

    own, places = np.nonzero(ours != theirs)
    one, other = (
        np.array([queries[q].astype(np.float64) @ docs[row] for q, row in zip(own, rows[own, places])]).reshape(-1) for rows in (ours, theirs)
    )
    lengths = np.linalg.norm(queries, axis=1).max() * np.linalg.norm(docs, axis=1).max()
    widest = float(np.abs(one - other).max(initial=0))
    repeated = any(len(np.unique(row)) < len(row) for row in ours)
    return {
        "identical_ids": bool(widest <= 2 * gamma(docs.shape[1]) * lengths and not repeated),
        "places_apart": len(own) / ours.size,
        "widest_tie": widest,
    }


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(prog="python benchmarks/search_engines.py", description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--docs", type=int, default=177839, help="documents (default: %(default)s)")
    parser.add_argument("--dim", type=int, default=512, help="width of a vector (default: %(default)s)")
    parser.add_argument("--queries", type=int, default=2000, help="queries (default: %(default)s)")
    parser.add_argument("--k", type=int, default=100, help="results a query (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds after the warm-up (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="of the torch engine: auto, cpu, cuda (default: %(default)s)")
    parser.add_argument("--arithmetic", default="auto", help="of the torch engine: auto, float32, bfloat16, float16 (default: %(default)s)")
    given = parser.parse_args(argv)
    import torch  # before FAISS

    from evaluate.engines.faiss_loading import load_faiss
    from evaluate.engines.torch_scan import TorchBest

    random = np.random.default_rng(0)
    centres = random.standard_normal((CENTRES, given.dim), dtype=np.float32)
    docs, queries = clustered(random, given.docs, centres), clustered(random, given.queries, centres)
    k = min(given.k, given.docs)
    index = load_faiss().IndexFlatIP(given.dim)
    index.add(docs)
    engines = []

    def by_torch() -> tuple[np.ndarray, np.ndarray]:
        engines.append(TorchBest(queries, k, given.device, given.arithmetic))
        engines[-1].add(docs, 0)
        return engines[-1].result()

    by_torch()
    index.search(queries, k)
    rounds = []
    for number in range(given.rounds):
        engines.clear()
        faiss_s, theirs = timed(lambda: index.search(queries, k))
        torch_s, ours = timed(by_torch)
        rounds.append((faiss_s, torch_s, dict(engines[-1].seconds)))
        print(f"round {number + 1}: FAISS {faiss_s:.2f} s, {engines[-1].name} {torch_s:.2f} s", flush=True)
    faiss_s, (_, torch_s, parts) = min(times[0] for times in rounds), min(rounds, key=lambda times: times[1])
    outcome = {
        **{name: getattr(given, name) for name in ("docs", "dim", "queries", "k", "rounds")},
        "engine": engines[-1].name,
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0],
        "faiss_s": faiss_s,
        "torch_s": torch_s,
        **{f"torch_{name.replace('-', '')}_s": seconds for name, seconds in parts.items()},
        "times_faster": faiss_s / torch_s,
        **compare(queries, docs, ours, theirs),
    }
    print(json.dumps(outcome))


if __name__ == "__main__":
    main()
