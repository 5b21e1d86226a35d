"""Search at scale: time, peak memory and recall of exact search and of each kind of index, in one run.

    python -m benchmarks.search_scale [--docs 1000000 --dim 512 --queries 1000 --top_k 100]

The vectors are synthetic: documents around centres around topics, each query a document with noise, all of length 1, in float16 dumps that
are written once by a seed (kept in --folder, else in a temporary one) and only ever streamed. Every row is measured in processes of its own:
exact search by FAISS and by torch; an index built (exact results of held-out queries, training, filling, tuning: build_s is all of it),
then searched, mapped, with all queries. Recall is the share of the exact best --top_k in an index's lists. A graph takes a search for every
vector to build: it has --graph_docs documents alone. Memory is VmHWM, mapped pages, interpreter and libraries with it.
The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

if not __package__:  # run by its path
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

SHARD_ROWS = 50_000
CLUSTER_DOCS, CLUSTERS_A_TOPIC = 100, 50
CLUSTER = 0.5
"""Length of a cluster's own part beside that of its topic and of the noise: what is near a query is of several clusters."""
EXACT = {"exact, FAISS": "faiss", "exact, torch": "torch"}


def write_corpus(folder: Path, docs: int, dim: int, queries: int) -> None:
    """FOLDER/goods and FOLDER/video, finished dumps, unless they are there; each shard from its own seed."""
    from evaluate.embeddings import finish_dump

    if (folder / "video" / "manifest.json").is_file():
        return
    clusters = max(1, docs // CLUSTER_DOCS)
    draw = np.random.default_rng(0)
    topics = draw.standard_normal((max(1, clusters // CLUSTERS_A_TOPIC), dim), np.float32)
    centres = topics[draw.integers(0, len(topics), clusters)] + CLUSTER * draw.standard_normal((clusters, dim), np.float32)
    names, asked = [], []
    starts = range(0, docs, SHARD_ROWS)
    for shard, first in enumerate(starts):
        draw = np.random.default_rng((1, shard))
        number = min(SHARD_ROWS, docs - first)
        rows = centres[draw.integers(0, clusters, number)] + draw.standard_normal((number, dim), np.float32)
        asking = rows[draw.choice(number, min(number, -(-queries // len(starts))), replace=False)]
        asked.append(asking + draw.standard_normal(asking.shape, np.float32))
        names.append(f"goods-{shard:06d}")
        write_shard(folder / "goods", names[-1], rows, [f"g{first + row}" for row in range(number)])
    finish_dump(folder / "goods", names)
    clips = np.concatenate(asked)[:queries]
    write_shard(folder / "video", "video-000000", clips, [f"v{row}" for row in range(len(clips))])
    finish_dump(folder / "video", ["video-000000"])


def write_shard(folder: Path, name: str, rows: np.ndarray, ids: list[str]) -> None:
    """One shard of `rows` made to length 1, float16."""
    from evaluate.embeddings import DumpAttributes, write_dump_shard

    attributes = DumpAttributes(name.partition("-")[0], "both", rows.shape[1], True, "{}", "benchmark", name, "float16")
    write_dump_shard(folder / f"{name}.h5", rows / np.linalg.norm(rows, axis=1, keepdims=True), ids, attributes)


def exact(folder: Path, engine: str, top_k: int) -> dict[str, Any]:
    """Search the corpus of `folder` by `engine`; the rows go to FOLDER/exact.npy."""
    from evaluate.dump import Dump
    from evaluate.engines.exact import Exact

    start = time.perf_counter()
    queries = np.concatenate([block for _, block in Dump(folder / "video").blocks()])
    docs = Dump(folder / "goods").side()
    rows = Exact(docs, engine, quiet=True)(queries, min(top_k, len(docs)))[1]
    seconds = time.perf_counter() - start
    np.save(folder / "exact.npy", rows)
    return {"search_s": seconds, "recall": 1.0}


def build_index(folder: Path, kind: str, top_k: int, recall: float) -> dict[str, Any]:
    """Build the index FOLDER/index."""
    from evaluate.approximate.build import Wanted, build
    from evaluate.dump import Dump
    from evaluate.joined import Joined

    start = time.perf_counter()
    wanted = Wanted(kind, recall=recall, top_k=min(top_k, Dump(folder / "goods").rows))
    card = build(Joined([Dump(folder / "goods")]), folder / "index", wanted, Joined([Dump(folder / "video")]), quiet=True)
    return {
        "build_s": time.perf_counter() - start,
        "fill_s": card.build_s,
        "bytes": card.bytes,
        "setting": str(card),
        "card_recall": card.recall,
    }


def search_index(folder: Path, top_k: int) -> dict[str, Any]:
    """Search FOLDER/index with all queries; recall against FOLDER/exact.npy."""
    from evaluate.approximate.folder import open_index
    from evaluate.dump import Dump
    from evaluate.joined import Joined

    start = time.perf_counter()
    queries = np.concatenate([block for _, block in Dump(folder / "video").blocks()])
    docs = Joined([Dump(folder / "goods")])
    searching, _ = open_index(folder / "index", docs)
    _, rows = searching.best(queries, min(top_k, len(docs)))
    seconds = time.perf_counter() - start
    wanted = np.load(folder / "exact.npy")
    return {"search_s": seconds, "recall": float(np.mean([np.isin(own, found).mean() for own, found in zip(wanted, rows)]))}


def in_a_process(what: str, *arguments: object) -> dict[str, Any]:
    """What this program prints when it runs one side; its peak memory is called `what`_mb."""
    command = [sys.executable, __file__, *map(str, arguments)]
    ended = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    printed = json.loads(ended.stdout.splitlines()[-1])
    return {f"{what}_mb" if name == "peak_mb" else name: value for name, value in printed.items()}


def peak_mb() -> float:
    """VmHWM of this process."""
    return int(next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


def row_of(folder: Path, name: str, kind: str, docs: int, given: argparse.Namespace) -> dict[str, Any]:
    """A row of the table: engine or index, measured on the corpus of `folder`."""
    common = ("--folder", folder, "--top_k", given.top_k, "--recall", given.recall)
    if kind in EXACT.values():
        return {"name": name, "docs": docs, **in_a_process("search", "--side", "exact", "--kind", kind, *common)}
    shutil.rmtree(folder / "index", ignore_errors=True)
    built = in_a_process("build", "--side", "build", "--kind", kind, *common)
    return {"name": name, "docs": docs, **built, **in_a_process("search", "--side", "search", *common)}


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search_scale", description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--docs", type=int, default=1_000_000, help="documents (default: %(default)s)")
    parser.add_argument(
        "--graph_docs", type=int, default=50_000, help="documents of the graph, at most --docs; 0 for no graph (default: %(default)s)"
    )
    parser.add_argument("--dim", type=int, default=512, help="width of an embedding (default: %(default)s)")
    parser.add_argument("--queries", type=int, default=1000, help="queries (default: %(default)s)")
    parser.add_argument("--top_k", type=int, default=100, help="results a query (default: %(default)s)")
    parser.add_argument("--recall", type=float, default=0.95, help="recall that an index is tuned to (default: %(default)s)")
    parser.add_argument("--lists", type=int, default=1024, help="lists of an index (default: %(default)s)")
    parser.add_argument("--folder", type=Path, help="where the corpus is kept, for another run (default: a temporary folder)")
    parser.add_argument("--side", choices=["exact", "build", "search"], help=argparse.SUPPRESS)
    parser.add_argument("--kind", help=argparse.SUPPRESS)
    given = parser.parse_args(argv)
    if given.side:
        sides = {"exact": lambda: exact(given.folder, given.kind, given.top_k), "search": lambda: search_index(given.folder, given.top_k)}
        sides["build"] = lambda: build_index(given.folder, given.kind, given.top_k, given.recall)
        print(json.dumps({**sides[given.side](), "peak_mb": peak_mb()}))
        return
    start = time.perf_counter()
    folder = given.folder or Path(tempfile.mkdtemp())
    pieces = max(pieces for pieces in range(1, given.dim // 8 + 1) if given.dim % pieces == 0)
    indexes = {
        "IVF-Flat": f"IVF{given.lists},Flat",
        "IVF-SQ8": f"IVF{given.lists},SQ8",
        "IVF-PQ": f"OPQ{pieces},IVF{given.lists},PQ{pieces}np",
    }
    graph = min(given.docs, given.graph_docs)
    runs = [("", given.docs, {**EXACT, **indexes})] + ([("graph", graph, {"exact, FAISS": "faiss", "HNSW": "HNSW32"})] if graph else [])
    rows = []
    try:
        print(f"{'':<14}{'documents':>11}{'build s':>9}{'MB':>8}{'search s':>10}{'MB':>8}{'on disk MB':>12}{'recall':>9}", flush=True)
        for name, docs, kinds in runs:
            corpus = folder / f"{docs}x{given.dim}{name}"
            write_corpus(corpus, docs, given.dim, given.queries)
            for label, kind in kinds.items():
                row = row_of(corpus, label, kind, docs, given)
                rows.append(row)
                paid = f"{row['build_s']:>9.1f}{row['build_mb']:>8.0f}" if "build_s" in row else f"{'':>17}"
                size = f"{row['bytes'] / 1e6:>12.0f}" if "bytes" in row else f"{'':>12}"
                searched = f"{row['search_s']:>10.1f}{row['search_mb']:>8.0f}{size}{row['recall']:>9.4f}"
                print(f"{label:<14}{docs:>11,}{paid}{searched}  {row.get('setting', '')}", flush=True)
    finally:
        if given.folder is None:
            shutil.rmtree(folder)
    about = {"dim": given.dim, "queries": given.queries, "top_k": given.top_k, "threads": os.cpu_count(), "seconds": time.perf_counter() - start}
    print(json.dumps({**about, "rows": rows}))


if __name__ == "__main__":
    main()
