"""The Slurm script with made-up `srun` and `scontrol`, and the numbers of the PyTorchJob manifest."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml

CHECKOUT = Path(__file__).resolve().parents[2]

SRUN = """#!/usr/bin/env bash
# Two nodes, one after the other. As the real one it passes USR1 on, and kills its tasks at once when it gets TERM.
shift  # --kill-on-bad-exit=1
for SLURM_NODEID in 0 1; do
  export SLURM_NODEID
  "$@" &
  trap 'kill -USR1 '$! USR1
  trap 'kill -KILL '$! TERM
  wait $! || { wait $!; exit $?; }
done
"""
SCONTROL = """#!/usr/bin/env bash
case $1 in show) printf 'node7\\nnode8\\n' ;; *) echo "$*" >>"$SEEN" ;; esac
"""
TRAIN = """
echo "rank $NODE_RANK of $NNODES at $MASTER_ADDR:$MASTER_PORT: $*" >>"$SEEN"
if [[ -n ${LONG:-} ]]; then
  trap 'echo checkpoint >>"$SEEN"; exit "${AT_USR1:-75}"' USR1
  while true; do sleep 0.05; done
fi
exit "${STATUS:-0}"
"""


@pytest.fixture
def cluster(tmp_path):
    """Starts the job in a made-up checkout; `seen` is what its nodes and Slurm were asked for."""
    tools, checkout = tmp_path / "tools", tmp_path / "checkout"
    tools.mkdir()
    (checkout / "launch").mkdir(parents=True)
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    (checkout / "train.sh").write_text(TRAIN)
    (checkout / "launch/python.sh").write_text("echo python\n")
    environment = os.environ | {
        "PATH": f"{tools}:{os.environ['PATH']}",
        "SEEN": str(tmp_path / "seen"),
        "SLURM_SUBMIT_DIR": str(checkout),
        "SLURM_JOB_ID": "1234567",
        "SLURM_JOB_NODELIST": "node[7-8]",
        "SLURM_JOB_NUM_NODES": "2",
    }

    def start(*flags: str, **more: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(["bash", str(CHECKOUT / "launch/slurm.sbatch"), *flags], env=environment | more, cwd=tmp_path)

    return start, tmp_path / "seen"


def test_every_node_is_told_its_number_and_where_the_first_one_is(cluster):
    start, seen = cluster

    job = start("--recipe", "qcd", "--out", "a run")

    assert job.wait(timeout=30) == 0
    assert seen.read_text().splitlines() == [
        "rank 0 of 2 at node7:24567: --recipe qcd --out a run",
        "rank 1 of 2 at node7:24567: --recipe qcd --out a run",
    ]


def test_a_failed_training_is_a_failed_job(cluster):
    start, seen = cluster

    job = start(STATUS="2")

    assert job.wait(timeout=30) == 2
    assert "requeue" not in seen.read_text()


def test_near_the_time_limit_the_training_stops_with_a_checkpoint_and_the_job_is_requeued(cluster):
    start, seen = cluster

    job = start(LONG="yes")
    wait_for(lambda: seen.exists())
    time.sleep(0.3)
    job.send_signal(signal.SIGUSR1)

    assert job.wait(timeout=30) == 75
    assert seen.read_text().splitlines()[1:] == ["checkpoint", "requeue 1234567"]


def test_a_training_that_was_asked_to_stop_by_somebody_else_is_requeued_too(cluster):
    start, seen = cluster

    job = start(STATUS="75")

    assert job.wait(timeout=30) == 75
    assert seen.read_text().splitlines()[-1] == "requeue 1234567"


def test_a_training_that_ends_well_although_the_time_limit_is_near_is_not_requeued(cluster):
    start, seen = cluster

    job = start(LONG="yes", AT_USR1="0")
    wait_for(lambda: seen.exists())
    time.sleep(0.3)
    job.send_signal(signal.SIGUSR1)

    assert job.wait(timeout=30) == 0
    assert "requeue" not in seen.read_text()


def wait_for(condition, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.05)


def test_the_manifest_counts_its_nodes_and_cards_alike_everywhere():
    job = yaml.safe_load((CHECKOUT / "launch/pytorchjob.yaml").read_text())

    replicas = job["spec"]["pytorchReplicaSpecs"]
    nodes = sum(replica["replicas"] for replica in replicas.values())
    assert set(replicas) == {"Master", "Worker"}
    assert replicas["Master"]["replicas"] == 1
    for replica in replicas.values():
        pod = replica["template"]["spec"]
        (container,) = pod["containers"]
        environment = {pair["name"]: pair["value"] for pair in container["env"]}
        assert container["name"] == "pytorch"
        assert environment["NNODES"] == str(nodes)
        assert environment["NPROC_PER_NODE"] == container["resources"]["limits"]["nvidia.com/gpu"]
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}


def test_the_manifest_hands_the_number_of_the_pod_and_its_flags_to_train(tmp_path):
    job = yaml.safe_load((CHECKOUT / "launch/pytorchjob.yaml").read_text())
    (container,) = job["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]["spec"]["containers"]
    (tmp_path / "train.sh").write_text('echo "node $NODE_RANK: $*"\n')

    done = subprocess.run([*container["command"], *container["args"]], cwd=tmp_path, env=os.environ | {"RANK": "1"}, capture_output=True, text=True)

    assert done.stdout.startswith("node 1: --recipe=qcd --data=/data/Real400K --out=/runs/qcd ")
