#!/usr/bin/env bash
# The whole way on a sample corpus: write it, train, evaluate both ways, compare with the baselines. Goes on from what is complete.
#   bash launch/demo.sh [FOLDER]     (default runs/demo in the checkout)
set -euo pipefail
checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
out=${1:-$checkout/runs/demo}
one_process() { NNODES=1 NPROC_PER_NODE=1 bash "$checkout/launch/run.sh" "$@"; }

one_process pipeline.sources.sample --out "$out/corpus"
# Packed once and embedded once for all that follows.
data=(--data "$out/corpus" --shards "$out/shards")
bash "$checkout/train.sh" --recipe qcd:smoke "${data[@]}" --out "$out/run"
for task in video2goods goods2video; do
  bash "$checkout/${task}_evaluate.sh" --checkpoint "$out/run" "${data[@]}" --dumps "$out/dumps" --out "$out/$task"
done
one_process pipeline.baselines --checkpoint "$out/run" "${data[@]}" --trained "$out/video2goods" "$out/goods2video" --out "$out/baselines"
echo "reports: $out/video2goods/report.html and $out/goods2video/report.html"
