#!/usr/bin/env bash
# Run a stage, in one process or in as many as the environment says:  bash launch/run.sh [--check-first] MODULE [flags of the module]
#
# Environment, as for torchrun: NPROC_PER_NODE (default: the GPUs that torch sees, else 1), NNODES (1), and with several nodes NODE_RANK,
# MASTER_ADDR, MASTER_PORT (29500); TORCHRUN_ARGS holds further flags of torchrun (with --rdzv..., they replace the three).
# SIGTERM and SIGUSR1 reach all ranks as SIGTERM, and the exit code is then 75: start the same command again to go on.
# --check-first: before torchrun starts, one process parses the flags and looks at the folders (MODULE --check), so that a mistake is one line.
set -euo pipefail
checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
fail() { echo "error: $*" >&2; exit 2; }

check_first=
if [[ ${1:-} == --check-first ]]; then check_first=yes; shift; fi
[[ $# -ge 1 ]] || fail "usage: bash launch/run.sh [--check-first] MODULE [flags]"
module=$1
shift

python=$(bash "$checkout/launch/python.sh")
# Paths that a person gives are relative to where they stand, so nothing changes folder; the safe path keeps a folder of theirs that is
# called `evaluate` or `pipeline` from being taken for ours.
unset PYTHONDONTWRITEBYTECODE  # or each process would compile torch and transformers anew: seconds a start
export PYTHONSAFEPATH=1 PYTHONPATH="$checkout${PYTHONPATH:+:$PYTHONPATH}"
# A scheduler may have set these for torchrun's parent; a process that torchrun did not start must not wait for others.
unset RANK WORLD_SIZE LOCAL_RANK

for flag in "$@"; do
  case $flag in -h | --help | --help=* | --*.help | --print_config*) exec "$python" -m "$module" "$@" ;; esac
done

nodes=${NNODES:-1}
processes=${NPROC_PER_NODE:-}
if [[ -z $processes ]]; then
  processes=1
  if command -v nvidia-smi >/dev/null; then
    processes=$("$python" -c 'import torch; print(max(1, torch.cuda.device_count()))')
  fi
fi
[[ $processes =~ ^[1-9][0-9]*$ ]] || fail "NPROC_PER_NODE=$processes: a number of processes, 1 or more"
if [[ $nodes == 1 && $processes == 1 && -z ${TORCHRUN_ARGS:-} ]]; then
  exec "$python" -m "$module" "$@"
fi

if [[ ${TORCHRUN_ARGS:-} == *--rdzv* ]]; then
  rendezvous=()
elif [[ $nodes == 1 ]]; then
  rendezvous=(--standalone)
else
  [[ -n ${MASTER_ADDR:-} && -n ${NODE_RANK:-} ]] || fail "NNODES=$nodes needs MASTER_ADDR (the first node's name) and NODE_RANK (0 on the first, 1 on the second ...)"
  rendezvous=(--node_rank "$NODE_RANK" --master_addr "$MASTER_ADDR" --master_port "${MASTER_PORT:-29500}")
fi
if [[ -n $check_first ]]; then
  "$python" -m "$module" --check "$@"
fi
cores=$(nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-$((cores > processes ? cores / processes : 1))}"
# TORCHRUN_ARGS is several words on purpose.
# shellcheck disable=SC2086
exec "$python" -m launch.torchrun --nnodes "$nodes" --nproc_per_node "$processes" ${rendezvous[@]+"${rendezvous[@]}"} ${TORCHRUN_ARGS:-} -m "$module" "$@"
