#!/usr/bin/env bash
# Print the interpreter to run with: REELGOODS_PYTHON, else the active environment where it has what is needed, else .venv, set up first if needed.
set -euo pipefail
checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
needed='import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, "torch faiss transformers webdataset h5py jsonargparse decord av".split())))'

if [[ -n ${REELGOODS_PYTHON:-} ]]; then
  command -v "$REELGOODS_PYTHON" || { echo "error: REELGOODS_PYTHON=$REELGOODS_PYTHON: no such interpreter" >&2; exit 2; }
elif [[ -n ${VIRTUAL_ENV:-${CONDA_PREFIX:-}} && ${VIRTUAL_ENV:-} != "$checkout/.venv" ]] && python -P -c "$needed" 2>/dev/null; then
  command -v python
else
  bash "$checkout/launch/setup.sh" --if-stale >&2
  echo "$checkout/.venv/bin/python"
fi
