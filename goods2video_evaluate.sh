#!/usr/bin/env bash
# Search each good's clips and report:  bash goods2video_evaluate.sh --checkpoint RUN --data CORPUS --out OUT      (--help lists the flags)
set -euo pipefail
exec bash "$(dirname "${BASH_SOURCE[0]}")/launch/evaluate.sh" goods2video "$@"
