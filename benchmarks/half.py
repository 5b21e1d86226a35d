"""What float16 costs in recall and saves in bytes: the same vectors in a float32 and in a float16 dump, searched alike.

    python -m benchmarks.half [--docs 177839 --dim 512 --queries 2000 --top_k 1000]
    python -m benchmarks.half --query_dump DUMP --doc_dump DUMP --task video2goods --ground_truth FILE

Without dumps the vectors are synthetic: documents in clusters, each query a document with noise, of length 1; that document and three others
of its cluster are relevant. With dumps (float32) these are rounded. Both are searched exactly in float32 arithmetic, so that all that
differs is what was stored. "moved" is the share of queries whose recall@k is another; "kept" is the share of the float32 lists' first k that
the float16 lists' first k hold, too. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from evaluate.dump import Dump
from evaluate.embeddings import DumpAttributes, finish_dump, write_dump_shard
from evaluate.ids import decode_ids
from evaluate.judging.ground_truth import GroundTruth, read_ground_truth
from evaluate.judging.judged import judge
from evaluate.judging.per_query import PerQuery, per_query
from evaluate.ranked import Ranked
from evaluate.search import domains_of, search

SHARD_ROWS = 10000
CLUSTER_DOCS = 40
NOISE = 5.5
OVERLAPS = (1, 10, 100, 1000)


def synthetic(docs: int, dim: int, queries: int) -> tuple[np.ndarray, np.ndarray, GroundTruth]:
    """(documents, queries, ground truth); a query's noise is so large that about half of the first results are wrong."""
    draw = np.random.default_rng(0)
    clusters = max(1, docs // CLUSTER_DOCS)
    of_doc = draw.integers(0, clusters, docs)
    rows = draw.standard_normal((clusters, dim), dtype=np.float32)[of_doc]
    rows += 0.5 * draw.standard_normal(rows.shape, dtype=np.float32)
    chosen = draw.integers(0, docs, queries)
    asked = rows[chosen] + NOISE * draw.standard_normal((queries, dim), dtype=np.float32)
    order = np.argsort(of_doc, kind="stable")
    starts = np.searchsorted(of_doc[order], np.arange(clusters + 1))
    pairs = []
    for query, doc in enumerate(chosen.tolist()):
        own = order[starts[of_doc[doc]] : starts[of_doc[doc] + 1]]
        others = draw.permutation(own)[:3].tolist()
        pairs.append((f"v{query}", [f"g{row}" for row in (doc, *others)]))
    return _unit(rows), _unit(asked), GroundTruth.of_pairs(pairs)


def write(folder: Path, domain: str, rows: np.ndarray, ids: list[str], dtype: str) -> None:
    """A finished dump of `rows`."""
    names = []
    for first in range(0, len(rows), SHARD_ROWS):
        names.append(f"{domain}-{first // SHARD_ROWS:06d}")
        attributes = DumpAttributes(domain, "both", rows.shape[1], False, "{}", "benchmark", str(first), dtype)
        write_dump_shard(folder / f"{names[-1]}.h5", rows[first : first + SHARD_ROWS], ids[first : first + SHARD_ROWS], attributes)
    finish_dump(folder, names)


def measure(folder: Path, task: str, truth: GroundTruth, top_k: int, dtype: str) -> tuple[Ranked, PerQuery, dict[str, float]]:
    """The lists, every query's metrics, and {"bytes", "seconds"} of the dumps of type `dtype` below `folder`."""
    query, document = domains_of(task)
    start = time.perf_counter()
    ranked = Ranked(search(Dump(folder / dtype / query), Dump(folder / dtype / document), folder / dtype, task, top_k, trec=False, quiet=True))
    seconds = time.perf_counter() - start
    size = sum(path.stat().st_size for path in (folder / dtype).rglob("*-*.h5"))
    return ranked, per_query(judge(ranked, truth).found, ranked.attributes.docs), {"bytes": size, "seconds": seconds}


def kept(one: Ranked, other: Ranked, k: int) -> float:
    """Mean share of the first k of `one` that are among the first k of `other`."""
    shares = []
    for first in range(0, one.queries, 256):
        rows = range(first, min(first + 256, one.queries))
        (ours, _), (theirs, _) = one.lists(rows, k), other.lists(rows, k)
        for own, its in zip(one.doc_ids[ours], other.doc_ids[theirs]):
            shares.append(np.isin(own, its).mean())
    return float(np.mean(shares))


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.half", description="Recall of float16 dumps beside float32.", allow_abbrev=False)
    parser.add_argument("--docs", type=int, default=177839, help="documents (default: %(default)s)")
    parser.add_argument("--dim", type=int, default=512, help="width of an embedding (default: %(default)s)")
    parser.add_argument("--queries", type=int, default=2000, help="queries (default: %(default)s)")
    parser.add_argument("--top_k", type=int, default=1000, help="results a query (default: %(default)s)")
    parser.add_argument("--query_dump", type=Path, help="float32 dump in place of synthetic vectors; with --doc_dump, --task and --ground_truth")
    parser.add_argument("--doc_dump", type=Path, help="likewise, of the documents")
    parser.add_argument("--task", default="video2goods", help="QUERYDOMAIN2DOCUMENTDOMAIN (default: %(default)s)")
    parser.add_argument("--ground_truth", type=Path, help="`query id TAB relevant ids` lines or TREC qrels")
    given = parser.parse_args(argv)
    folder = Path(tempfile.mkdtemp())
    try:
        query, document = domains_of(given.task)
        if given.doc_dump:
            truth = read_ground_truth(given.ground_truth)
            sides = {}
            for domain, source in ((query, Dump(given.query_dump)), (document, Dump(given.doc_dump))):
                assert source.dtype == "float32", f"{source.folder} is {source.dtype}: what it lost is lost"
                sides[domain] = (np.concatenate([block for _, block in source.blocks(domain=domain)]), decode_ids(source.ids(domain=domain)))
        else:
            docs, queries, truth = synthetic(given.docs, given.dim, given.queries)
            sides = {query: (queries, [f"v{row}" for row in range(len(queries))]), document: (docs, [f"g{row}" for row in range(len(docs))])}
        results: dict[str, Any] = {}
        for dtype in ("float32", "float16"):
            for domain, (rows, ids) in sides.items():
                write(folder / dtype / domain, domain, rows, ids, dtype)
            results[dtype] = measure(folder, given.task, truth, given.top_k, dtype)
        (lists, values, about), (half_lists, half_values, half_about) = results["float32"], results["float16"]
        whole, half = values.metrics(), half_values.metrics()
        outcome = {
            "docs": lists.attributes.docs,
            "dim": sides[document][0].shape[1],
            "queries": len(values.rows),
            "metrics": {name: {"float32": whole[name], "float16": half[name], "difference": half[name] - whole[name]} for name in whole},
            "moved": {name: float((values.column(name) != half_values.column(name)).mean()) for name in values.names if name.startswith("recall")},
            "kept": {f"first {k}": kept(lists, half_lists, k) for k in OVERLAPS if k <= lists.depth},
            "float32": about,
            "float16": half_about,
        }
        for name, own in outcome["metrics"].items():  # type: ignore[attr-defined]
            print(f"{name:<28}{own['float32']:>10.5f}{own['float16']:>10.5f}{own['difference']:>+11.6f}")
        print(json.dumps(outcome))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
