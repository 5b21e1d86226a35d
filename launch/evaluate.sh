#!/usr/bin/env bash
# Evaluate one retrieval task, from a checkpoint to the report:  bash launch/evaluate.sh TASK --checkpoint RUN --data CORPUS --out OUT [flags]
# With NPROC_PER_NODE or NNODES (launch/run.sh) all processes share the embedding and the search; the files are those of one.
# TASK is video2goods, query2goods, live2goods …: what is searched with, 2, what is searched among.  bash launch/evaluate.sh video2goods --help  names all.
# Or popularity, which is predicted and not searched: then --data is a folder of features with neighbours (pipeline.features, pipeline.neighbours).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[[ $# -ge 1 && $1 != -* ]] || { echo "error: usage: bash launch/evaluate.sh video2goods|goods2video|query2goods|query2video|popularity|… --checkpoint RUN --data CORPUS --out OUT [flags]" >&2; exit 2; }
task=$1
shift
[[ $task != popularity ]] || exec bash "$here/run.sh" --check-first pipeline.predict "$@"
exec bash "$here/run.sh" --check-first pipeline.retrieve --task "$task" "$@"
