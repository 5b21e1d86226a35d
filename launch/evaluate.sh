#!/usr/bin/env bash
# Evaluate one retrieval task, from a checkpoint to the report:  bash launch/evaluate.sh TASK --checkpoint RUN --data CORPUS --out OUT [flags]
# TASK is video2goods, query2goods, live2goods …: what is searched with, 2, what is searched among.  bash launch/evaluate.sh video2goods --help  names all.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[[ $# -ge 1 && $1 != -* ]] || { echo "error: usage: bash launch/evaluate.sh video2goods|goods2video|query2goods|query2video|… --checkpoint RUN --data CORPUS --out OUT [flags]" >&2; exit 2; }
task=$1
shift
exec bash "$here/run.sh" --check-first pipeline.retrieve --task "$task" "$@"
