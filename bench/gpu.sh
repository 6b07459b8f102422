#!/usr/bin/env bash
# Everything that has to be measured on a GPU, in some ten minutes on one H100:  bash bench/gpu.sh [FOLDER]
# Writes FOLDER/*.txt and *.json (default bench_gpu): the operations against their plain formulations, whole stages in
# each precision and compiled, growth, and whether --deterministic gives the same bits twice.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source tool/setup.sh
setup_python requirements.txt
out=${1:-bench_gpu}
mkdir -p "$out"

measure() {  # NAME, seconds at most, arguments of python -m bench
    local name=$1 limit=$2
    shift 2
    timeout "$limit" "$PYTHON" -m bench --device cuda --json "$out/$name.json" "$@" 2>&1 | tee "$out/$name.txt"
}

deterministic() {  # the same training twice: equal checkpoints
    local folder
    folder=$(mktemp -d)
    "$PYTHON" prepare_dataset.py --kind toy --dataset_root "$folder/set" --train 8 --train_aug 32 --val 2
    for name in one two; do
        "$PYTHON" train_aesipe.py --dataset_root "$folder/set" --run_root "$folder" --session_name "$name" \
            --backbone resnet50 --weights none --batch_size 8 --crop_size 256 --max_epochs 2 --deterministic
        "$PYTHON" deeplab/train.py --dataset_root "$folder/set" --run_root "$folder" --session_name "$name" \
            --backbone resnet50 --weights none --batch_size 8 --crop_size 256 --max_iters 8 --labels truth \
            --deterministic
    done
    for network in aesipe deeplab; do
        "$PYTHON" - "$folder" "$network" <<'PY'
import sys, torch
one, two = (torch.load(f"{sys.argv[1]}/{run}/ckpt/{sys.argv[2]}.pt", weights_only=True)["model"]
            for run in ("one", "two"))
print(sys.argv[2], "same bits twice:", all(torch.equal(one[key], two[key]) for key in one))
PY
    done
    rm -rf "$folder"
}

nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv | tee "$out/machine.txt"
measure operations 120 --runs 20 --budget 10
measure stages 150 --stages --images 64 --runs 20
measure compiled 100 --stages --run train_aesipe deeplab_train --compile --runs 20
measure float32 60 --stages --run train_aesipe deeplab_train --precision float32 --runs 10
measure growth 60 --growth "$out"
deterministic 2>&1 | grep -v "^$" | tail -n 4 | tee "$out/deterministic.txt"
