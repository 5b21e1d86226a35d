#!/usr/bin/env bash
# Search each clip's goods and report:  bash video2goods_evaluate.sh --checkpoint RUN --data CORPUS --out OUT      (--help lists the flags)
set -euo pipefail
exec bash "$(dirname "${BASH_SOURCE[0]}")/launch/evaluate.sh" video2goods "$@"
