"""The benchmark of the engines: what it compares is what it says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from benchmarks.search_engines import compare

CHECKOUT = Path(__file__).resolve().parents[1]


def test_the_benchmark_runs_by_its_path_and_ends_with_one_json_line(tmp_path):
    flags = ["--docs", "3000", "--dim", "16", "--queries", "20", "--k", "50", "--rounds", "1", "--device", "cpu"]

    done = subprocess.run([sys.executable, str(CHECKOUT / "benchmarks/search_engines.py"), *flags], capture_output=True, text=True, cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout.splitlines()[-1])
    parts = [value for name, value in outcome.items() if name.startswith("torch_") and name != "torch_s"]
    assert outcome["identical_ids"] and outcome["faiss_s"] > 0
    assert len(parts) == 5 and 0 < sum(parts) <= outcome["torch_s"]


def test_ids_that_tie_are_identical_and_others_are_not():
    queries, docs = np.eye(2, dtype=np.float32), np.array([[1, 0], [1 - 6e-8, 0], [0.5, 0], [0, 1]], np.float32)
    theirs = np.array([[0, 1, 2], [3, 0, 1]])

    assert compare(queries, docs, theirs, theirs) == {"identical_ids": True, "places_apart": 0.0, "widest_tie": 0.0}
    tied = compare(queries, docs, np.array([[1, 0, 2], [3, 2, 0]]), theirs)
    assert tied["identical_ids"] and tied["places_apart"] == 4 / 6
    assert not compare(queries, docs, np.array([[2, 1, 0], [3, 0, 1]]), theirs)["identical_ids"]
    assert not compare(queries, docs, np.array([[0, 0, 2], [3, 0, 1]]), theirs)["identical_ids"]
