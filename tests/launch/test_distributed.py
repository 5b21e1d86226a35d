"""One process or many, the same numbers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from launch import distributed
from tests.launch.gather_and_count import COUNT
from tests.launch.global_batch import BATCH, gradient_of_slice

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module", params=[2, 3])
def job(request, tmp_path_factory):
    """What rank 0 of a torchrun job of two or three processes wrote."""
    out = tmp_path_factory.mktemp("job") / "seen.json"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(request.param)]
    command = [*torchrun, str(CHECKOUT / "tests/launch/gather_and_count.py"), str(out)]
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    seen = json.loads(out.read_text())
    assert seen["ranks"] == request.param
    return seen


def test_gathered_rows_have_the_gradient_of_one_process_on_the_whole_batch(job):
    whole = gradient_of_slice(slice(0, BATCH), distributed.gather_rows)

    torch.testing.assert_close(torch.tensor(job["gradient"]), whole, rtol=1e-5, atol=1e-7)


def test_a_gather_that_cuts_the_gradient_would_be_noticed():
    whole = gradient_of_slice(slice(0, BATCH), distributed.gather_rows)

    cut = gradient_of_slice(slice(0, BATCH), lambda rows: rows.detach())

    assert (cut - whole).norm() / whole.norm() > 0.1


def test_rows_come_in_the_order_of_the_ranks(job):
    assert job["order"] == list(range(BATCH))


def test_every_number_of_a_shared_counter_is_handed_out_once(job):
    taken = job["taken"]

    assert sorted(number for numbers in taken for number in numbers) == list(range(COUNT))
    assert all(numbers == sorted(numbers) for numbers in taken)


def test_a_slow_rank_takes_less_than_its_even_share(job):
    assert len(job["taken"][0]) < COUNT / job["ranks"]


def test_counters_of_two_names_count_apart(job):
    assert sorted(job["others"]) == list(range(job["ranks"]))


def test_all_ranks_hear_what_the_first_says(job):
    assert job["said"] == [{"rank": 0}] * job["ranks"]


def test_without_a_job_everything_works_for_one_process():
    rows = torch.arange(6.0).reshape(3, 2)
    counter = distributed.SharedCounter("alone")

    assert distributed.start("cpu") == torch.device("cpu")
    assert (distributed.rank(), distributed.world_size()) == (0, 1)
    assert distributed.gather_rows(rows) is rows
    assert torch.equal(distributed.sum_over_ranks(rows), rows)
    assert distributed.logsumexp_over_ranks(rows) is rows
    assert distributed.broadcast_object("word") == "word"
    assert [counter.next() for _ in range(3)] == [0, 1, 2]
    distributed.barrier()
    distributed.stop()


def test_a_device_that_is_not_here_is_named_with_the_remedy(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    with pytest.raises(ValueError, match=r"--device cuda: torch sees no GPU here; run launch/setup\.sh"):
        distributed.start("cuda")
    with pytest.raises(ValueError, match="--device tpu: choose auto, cpu or cuda"):
        distributed.start("tpu")
