"""What ranks of a search exchange, checked in a torchrun job (`tests/pipeline/commands_on_ranks.py`): main([folder]) on every rank.

folder/broken.npy has a row that is not finite, which only the last rank reads.
"""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch.distributed as dist

import evaluate.ranks
from evaluate.approximate.build import Wanted
from evaluate.dump import Dump
from evaluate.dumps.array import ArrayVectors
from evaluate.engines.keys import NOTHING
from evaluate.ranks import JobRanks, joined
from evaluate.search import search


def main(argv: list[str]) -> None:
    folder = Path(argv[0])
    with joined() as ranks:
        assert isinstance(ranks, JobRanks) and ranks.of_first(ranks.rank) == 0
        _lists_are_merged_some_queries_at_a_time(ranks)
        _an_error_of_one_rank_is_that_of_all(ranks, folder)
        _an_error_of_the_first_alone_lets_the_others_go(ranks, folder)
        _the_first_is_done_before_the_others_begin(ranks, folder)
        _the_others_wait_for_the_first_as_long_as_it_takes(ranks)
        _an_index_that_cannot_be_built_is_one_error_of_all(ranks, folder)


def _lists_are_merged_some_queries_at_a_time(ranks: JobRanks) -> None:
    every = np.random.default_rng(0).permutation(7 * 3 * ranks.size).reshape(ranks.size, 7, 3)
    every[0, 2:4] = NOTHING
    every.sort(axis=2)
    for at_once in (1, 2 * 24 * ranks.size, 1 << 26):
        evaluate.ranks.MERGED_AT_ONCE_BYTES = at_once
        merged = ranks.merged(every[ranks.rank].copy())
        if ranks.rank == 0:
            np.testing.assert_array_equal(merged, np.sort(every.transpose(1, 0, 2).reshape(7, -1))[:, :3])


def _an_error_of_one_rank_is_that_of_all(ranks: JobRanks, folder: Path) -> None:
    sides = [ArrayVectors(folder / name) for name in ("queries.npy", "broken.npy")]
    with pytest.raises(ValueError, match=r"broken.npy: row 39 \('39'\) is not finite"):
        search(*sides, folder / "out", "video2goods", 5, quiet=True, ranks=ranks)


def _an_error_of_the_first_alone_lets_the_others_go(ranks: JobRanks, folder: Path) -> None:
    sides = [ArrayVectors(folder / name) for name in ("queries.npy", "goods.npy")]
    if ranks.rank == 0:
        with pytest.raises(ValueError, match=r"--dedup 1.5: a cosine between 0 and 1"):
            search(*sides, folder / "out", "video2goods", 5, quiet=True, dedup=1.5, ranks=ranks)
    else:
        search(*sides, folder / "out", "video2goods", 5, quiet=True, dedup=1.5, ranks=ranks)


def _the_first_is_done_before_the_others_begin(ranks: JobRanks, folder: Path) -> None:
    made = folder / f"made by the first of {ranks.size}"
    with ranks.first_alone():
        if ranks.rank == 0:
            made.write_text("")
        assert made.exists()
    with pytest.raises(ValueError, match="cannot be read"), ranks.first_alone():
        if ranks.rank == 0:
            raise OSError("goods.txt: cannot be read")
        raise AssertionError("the others do not begin where the first has failed")


def _the_others_wait_for_the_first_as_long_as_it_takes(ranks: JobRanks) -> None:
    patient, ranks._group = ranks._group, dist.new_group(backend="gloo", timeout=timedelta(seconds=2))
    with ranks.first_alone():
        if ranks.rank == 0:
            time.sleep(4)
    ranks._group = patient


def _an_index_that_cannot_be_built_is_one_error_of_all(ranks: JobRanks, folder: Path) -> None:
    dump = Dump(folder / "dump")
    with pytest.raises(ValueError, match=r"--memory 10 B is too little for an index of recall 0.95 of 90 x 16"):
        search(dump, dump, folder / "none", "video2goods", 5, quiet=True, ranks=ranks, index=Wanted("auto", "10B"))
    with pytest.raises(ValueError, match=r"dump is given twice"):
        search(dump, [dump, dump], folder / "none", "video2goods", 5, quiet=True, ranks=ranks)
