#!/usr/bin/env bash
# All that has to be measured on a GPU, as FOLDER/report.md and report.csv:  bash bench/gpu.sh [FOLDER] [--device cpu]
# ResNet-101 at the paper's sizes; with --device cpu everything is as small as can be, to see in two minutes that it runs.
# A row that fails says why and the next continues; called again, it continues with what is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source tool/setup.sh
setup_python requirements.txt
sizes=(--device cuda --images 64 --runs 20 --budget 10)
if [[ " $* " == *" --device cpu "* ]]; then
    sizes=(--backbone resnet18 --irn_backbone resnet18 --crop_size 96 --batch_size 4 --n_classes 5 --height 60 --width 80
        --images 4 --runs 1 --processes 2)
fi
folder=bench_gpu
if [ $# -gt 0 ] && [[ $1 != --* ]]; then
    folder=$1
    shift
fi
exec "$PYTHON" -m bench --report "$folder" "${sizes[@]}" "$@"
