"""Seconds and peak memory from embeddings on disk to metrics.json: ours beside the released way, in one run.

    python -m benchmarks.evaluation [--docs 177839 --dim 512 --queries 5000 --top_k 1000]

ours      reads the HDF5 dump in blocks, searches, writes ranked.h5, run.trec and metrics.json
released  reads text features (`id TAB floats, comma-separated`), searches a flat L2 index held in memory, counts recall with dicts and
          sets and writes metrics.json: the release's algorithm, written plainly

Both sides see the same numbers (float16 values of length 1, in the text with eight decimals) and each runs in a process of its own.
Seconds run from the start of that process; the released side's include no writing of the text. Peak memory is the process's highest
resident size; "beyond_index" is that minus docs * dim * 4 bytes, the vectors themselves. The last line is one JSON object.
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

SHARD_ROWS = 10000
RECALL_CUTOFFS = (10, 20, 50, 100, 200, 500, 1000)


def make(folder: Path, docs: int, dim: int, queries: int) -> dict[str, float]:
    """Write the dump and the text features of the same random vectors, and a ground truth; seconds of each writing."""
    from evaluate.embeddings import DumpAttributes, finish_dump, write_dump_shard

    random = np.random.default_rng(0)
    seconds = {"write_text": 0.0, "write_dump": 0.0}
    names = []
    planted: list[np.ndarray] = []
    for domain, total, first_id in (("goods", docs, 1_000_000), ("video", queries, 3_000_000)):
        with open(folder / f"{domain}.txt", "w") as text:
            for first in range(0, total, SHARD_ROWS):
                rows = random.standard_normal((min(SHARD_ROWS, total - first), dim), dtype=np.float32)
                if domain == "goods":
                    planted.append(rows[: max(1, queries * len(rows) // total)].copy())
                else:
                    rows += 1.5 * np.resize(np.concatenate(planted), (total, dim))[first : first + len(rows)]
                rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)
                ids = [str(first_id + first + row) for row in range(len(rows))]
                start = time.perf_counter()
                for name, row in zip(ids, rows.astype(np.float32).tolist()):
                    text.write(name + "\t" + ",".join([f"{value:.8f}" for value in row]) + "\n")
                seconds["write_text"] += time.perf_counter() - start
                start = time.perf_counter()
                names.append(f"{domain}-{first // SHARD_ROWS:06d}")
                attributes = DumpAttributes(domain, "both", dim, True, "{}", "benchmark", str(first))
                write_dump_shard(folder / "dump" / f"{names[-1]}.h5", rows, ids, attributes)
                seconds["write_dump"] += time.perf_counter() - start
    finish_dump(folder / "dump", names)
    places = np.concatenate([first + np.arange(len(part)) for first, part in zip(range(0, docs, SHARD_ROWS), planted)])
    with open(folder / "ground_truth.tsv", "w") as truth:
        for query in range(queries):
            others = random.choice(docs, size=int(random.integers(0, 8)), replace=False)
            relevant = dict.fromkeys([int(places[query % len(places)]), *others.tolist()])
            truth.write(f"{3_000_000 + query}\t{','.join(str(1_000_000 + row) for row in relevant)}\n")
    return seconds


def ours(folder: Path, top_k: int) -> dict[str, Any]:
    """Dump -> ranked.h5, run.trec, metrics.json with this project's functions; seconds of its parts and recall."""
    from evaluate.dump import Dump
    from evaluate.judging.ground_truth import read_ground_truth
    from evaluate.judging.judged import judge, summary
    from evaluate.ranked import Ranked
    from evaluate.search import search
    from launch.files import write_json

    start = time.perf_counter()
    dump = Dump(folder / "dump")
    path = search(dump, dump, folder / "ours", "video2goods", top_k)
    searched = time.perf_counter()
    ranked = Ranked(path)
    values = summary(ranked, judge(ranked, read_ground_truth(folder / "ground_truth.tsv")))
    write_json(folder / "ours" / "metrics.json", values)
    parts = {"search_and_write": searched - start, "metrics": time.perf_counter() - searched}
    return {"parts": parts, "recall": {f"recall@{k}": values[f"recall@{k}"] for k in RECALL_CUTOFFS if f"recall@{k}" in values}}


def released(folder: Path, top_k: int) -> dict[str, Any]:
    """Text features -> metrics.json as the release does it; seconds of its parts and recall."""
    import faiss

    def read(path: Path) -> tuple[list[str], np.ndarray]:
        ids, vectors = [], []
        with open(path) as file:
            for line in file:
                name, numbers = line.rstrip("\n").split("\t")
                ids.append(name)
                vectors.append(np.array([float(number) for number in numbers.split(",")]))
        return ids, np.array(vectors).astype("float32")

    start = time.perf_counter()
    doc_ids, docs = read(folder / "goods.txt")
    query_ids, queries = read(folder / "video.txt")
    was_read = time.perf_counter()
    index = faiss.IndexFlatL2(docs.shape[1])
    index.add(docs)
    _, rows = index.search(queries, min(top_k, len(doc_ids)))
    searched = time.perf_counter()
    truth = {}
    with open(folder / "ground_truth.tsv") as file:
        for line in file:
            query, relevant = line.rstrip("\n").split("\t")
            truth[query] = relevant.split(",")
    results = {query: [doc_ids[row] for row in rows[number]] for number, query in enumerate(query_ids)}
    cutoffs = [k for k in RECALL_CUTOFFS if k <= rows.shape[1]]
    recall = {}
    for k in cutoffs:
        values = [len(set(results[query][:k]) & set(truth[query])) / len(truth[query]) for query in query_ids]
        recall[f"recall@{k}"] = sum(values) / len(values)
    (folder / "released").mkdir()
    (folder / "released" / "metrics.json").write_text(json.dumps(recall))
    parts = {"read": was_read - start, "search": searched - was_read, "metrics": time.perf_counter() - searched}
    return {"parts": parts, "recall": recall}


def run_side(side: str, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """What `side` prints, with its wall-clock seconds, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.evaluation", "--side", side, "--folder", str(folder)]
    for name in ("docs", "dim", "queries", "top_k"):
        command += [f"--{name}", str(getattr(arguments, name))]
    start = time.perf_counter()
    finished = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent.parent)
    return {"seconds": time.perf_counter() - start, **json.loads(finished.stdout.splitlines()[-1])}


def peak_bytes() -> int:
    """Highest resident size of this process (its own memory only: ru_maxrss would carry the parent's over)."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) * 1024


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evaluation", description="Ours beside the released way.", allow_abbrev=False)
    parser.add_argument("--docs", type=int, default=177839, help="documents (default: %(default)s)")
    parser.add_argument("--dim", type=int, default=512, help="width of an embedding (default: %(default)s)")
    parser.add_argument("--queries", type=int, default=5000, help="queries (default: %(default)s)")
    parser.add_argument("--top_k", type=int, default=1000, help="results a query (default: %(default)s)")
    parser.add_argument("--folder", type=Path, help="where the files go, removed afterwards (default: a temporary folder)")
    parser.add_argument("--side", choices=("make", "ours", "released"), help="run one side over what lies in --folder; used by the program itself")
    given = parser.parse_args(argv)
    if given.side:
        result = (
            {"seconds_of": make(given.folder, given.docs, given.dim, given.queries)}
            if given.side == "make"
            else {"ours": ours, "released": released}[given.side](given.folder, given.top_k)
        )
        print(json.dumps({**result, "peak_mb": peak_bytes() / 1e6}))
        return
    folder = Path(tempfile.mkdtemp(dir=given.folder))
    try:
        made = run_side("make", folder, given)
        print(f"written: text in {made['seconds_of']['write_text']:.1f} s, dump in {made['seconds_of']['write_dump']:.1f} s", flush=True)
        index_mb = given.docs * given.dim * 4 / 1e6
        sides = {}
        for side in ("ours", "released"):
            sides[side] = run_side(side, folder, given)
            sides[side]["beyond_index_mb"] = sides[side]["peak_mb"] - index_mb
            parts = ", ".join(f"{name} {value:.1f} s" for name, value in sides[side]["parts"].items())
            print(f"{side}: {sides[side]['seconds']:.1f} s ({parts}), peak {sides[side]['peak_mb']:.0f} MB", flush=True)
    finally:
        shutil.rmtree(folder)
    sizes = {name: getattr(given, name) for name in ("docs", "dim", "queries", "top_k")}
    outcome = {
        **sizes,
        "cores": len(os.sched_getaffinity(0)),
        "load_before": os.getloadavg()[0],
        "index_mb": index_mb,
        "seconds_of_writing": made["seconds_of"],
        **sides,
        "times_faster": sides["released"]["seconds"] / sides["ours"]["seconds"],
        "memory_share": max(0.0, sides["ours"]["beyond_index_mb"]) / sides["released"]["beyond_index_mb"],
        "recall_differs_by": max(abs(value - sides["released"]["recall"][name]) for name, value in sides["ours"]["recall"].items()),
    }
    print(json.dumps(outcome))


if __name__ == "__main__":
    main()
