#!/usr/bin/env bash
# Make .venv with the torch and FAISS builds that serve this machine's cards (CPU builds where there is none), and say which and why.
#
#   bash launch/setup.sh              choose builds and install them; quick when nothing has changed
#   bash launch/setup.sh --if-stale   keep to the builds chosen before, install only if their pins have changed (what the scripts call)
#
# Environment: PYTHON (makes .venv; 3.11 or newer), REELGOODS_CONSTRAINTS (a constraints file in place of ours; it pins torch and one
# FAISS package), REELGOODS_TORCH_INDEX (package index for torch alone), REELGOODS_PYTHON (an environment of your own: nothing is set up).
set -euo pipefail

fail() { echo "error: $*" >&2; exit 1; }

[[ $# -eq 0 || "$*" == --if-stale ]] || fail "launch/setup.sh $*: takes no flag but --if-stale"
if [[ -n ${REELGOODS_PYTHON:-} ]]; then
  [[ ${1:-} == --if-stale ]] || echo "set-up: REELGOODS_PYTHON=$REELGOODS_PYTHON is used as it is"
  exit 0
fi
constraints=
reason="REELGOODS_CONSTRAINTS says so"
if [[ -n ${REELGOODS_CONSTRAINTS:-} ]]; then
  [[ -f $REELGOODS_CONSTRAINTS ]] || fail "REELGOODS_CONSTRAINTS=$REELGOODS_CONSTRAINTS: no such file"
  constraints=$(cd "$(dirname "$REELGOODS_CONSTRAINTS")" && pwd)/$(basename "$REELGOODS_CONSTRAINTS")
fi
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# The stamp is written last: which constraints, which index for torch, and a checksum of everything that decides what is installed.
stamp=.venv/.reelgoods-stamp
read_stamp() { stamped_constraints=; stamped_index=; stamped_sum=; if [[ -f $stamp ]]; then { read -r stamped_constraints; read -r stamped_index; read -r stamped_sum; } <"$stamp"; fi; }
sum() { cat setup.cfg pyproject.toml constraints/*.txt "$constraints" | cksum; }
is_fresh() { read_stamp; [[ -x .venv/bin/python && $stamped_constraints == "$constraints" && $stamped_index == "$index" && $stamped_sum == "$(sum)" ]]; }

find_python() {
  local candidate
  for candidate in ${PYTHON:-python3.11 python3.12 python3.13 python3}; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then echo "$candidate"; return; fi
  done
  fail "${PYTHON:-python3}: Python 3.11 or newer is needed; install it, or set PYTHON to its path"
}

read_stamp
index=${REELGOODS_TORCH_INDEX-$stamped_index}
if [[ ${1:-} == --if-stale && -z $constraints && -f $stamped_constraints ]]; then
  constraints=$stamped_constraints
  reason="chosen before"
fi
if [[ -z $constraints ]]; then
  python=$(find_python)
  cards=
  if command -v nvidia-smi >/dev/null; then
    cards=$(nvidia-smi --query-gpu=name,compute_cap,driver_version --format=csv,noheader 2>&1) || cards=${cards:-nvidia-smi failed}
  fi
  { read -r constraints; read -r reason; } < <("$python" launch/choose_builds.py <<<"$cards")
fi

torch=$(sed -nE 's/^torch==([^ ;#]+).*/\1/p' "$constraints")
faiss=$(sed -nE 's/^(faiss[a-z-]*)==.*/\1/p' "$constraints")
[[ -n $torch ]] || fail "$constraints: pin torch (torch==VERSION); left open, pip takes a build that may not serve your card"
[[ $(wc -w <<<"$faiss") -eq 1 ]] || fail "$constraints: pin exactly one FAISS package (faiss-cpu==..., faiss-gpu==... or faiss-gpu-cuvs==...); all are imported as faiss"

if is_fresh; then
  [[ ${1:-} == --if-stale ]] || echo "set-up: .venv stands; torch $torch, $faiss from $constraints ($reason)"
  exit 0
fi

mkdir -p .venv
if command -v flock >/dev/null; then
  exec 9>.venv/.lock
  flock 9
  if is_fresh; then exit 0; fi
fi
echo "set-up: torch $torch and $faiss from $constraints ($reason)"
if [[ ! -x .venv/bin/python ]]; then
  "${python:-$(find_python)}" -m venv .venv
fi
read_stamp
rm -f "$stamp"
pip=(.venv/bin/python -m pip --disable-pip-version-check)
# All FAISS packages write the same folder, so the others leave before ours comes.
if "${pip[@]}" freeze | grep -E '^faiss' | grep -qv "^$faiss=="; then
  "${pip[@]}" uninstall -qq -y faiss-cpu faiss-gpu faiss-gpu-cuvs
fi
# The same version from another index is another build, which pip by itself would not fetch.
if [[ -n $stamped_sum && $stamped_index != "$index" ]]; then
  "${pip[@]}" uninstall -qq -y torch
fi
echo "set-up: installing into .venv (minutes, the first time)"
# Python compiles what is imported when it is first imported; compiling every file of every package now would take as long as the rest.
"${pip[@]}" install -qq --no-compile -c "$constraints" ${index:+--index-url "$index"} torch
"${pip[@]}" install -qq --no-compile -c "$constraints" "$faiss" -e '.[test,browser]'
.venv/bin/python -c 'import torch, faiss; print(f"set-up: done; torch {torch.__version__} sees {torch.cuda.device_count()} cards, faiss {faiss.__version__}")'
printf '%s\n' "$constraints" "$index" "$(sum)" >"$stamp"
