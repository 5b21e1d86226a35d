#!/usr/bin/env bash
# Train:  bash train.sh --recipe qcd[:smoke|:photos] --data CORPUS --out RUN [any recipe field]      (--help lists them)
set -euo pipefail
exec bash "$(dirname "${BASH_SOURCE[0]}")/launch/run.sh" --check-first pipeline.train "$@"
