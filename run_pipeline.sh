#!/usr/bin/env bash
# The whole pipeline, from the dataset to the report, from one config file.
#
#   bash run_pipeline.sh [CONFIG] [--from STAGE] [--to STAGE] [section.key=value ...]
#
# CONFIG defaults to configs/voc12_resnet101.yaml, the paper's. GPUS=2 runs the stages that share out their work by
# torchrun on that many processes. On several machines, run the same line on each with NNODES, NODE_RANK,
# MASTER_ADDR and MASTER_PORT set and the run folder on a disk that all of them see.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

STAGES=(dataset train_aesipe make_cam eval_cam make_ir_labels train_irn make_seg_labels eval_seg deeplab_train
        deeplab_test report)

usage() {
    sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
    echo "stages: ${STAGES[*]}"
}

fail() {
    echo "error: $1" >&2
    exit 2
}

position() {  # number of a stage
    local i
    for i in "${!STAGES[@]}"; do
        [ "${STAGES[i]}" = "$1" ] && echo "$i" && return
    done
    fail "stage '$1' is unknown: stages are ${STAGES[*]}"
}

config=configs/voc12_resnet101.yaml
from=dataset
to=report
overrides=()
while [ $# -gt 0 ]; do
    case $1 in
        -h | --help) usage; exit 0 ;;
        --from | --to)
            [ $# -ge 2 ] || fail "$1 needs a stage: stages are ${STAGES[*]}"
            [ "$1" = --from ] && from=$2 || to=$2
            shift 2 ;;
        -*) fail "$1 is unknown: see --help" ;;
        *=*) overrides+=("$1"); shift ;;
        *) config=$1; shift ;;
    esac
done
first=$(position "$from") || exit 2
last=$(position "$to") || exit 2

source tool/setup.sh
setup_python requirements.txt

settings=$(mktemp "${TMPDIR:-/tmp}/aesipe.XXXXXX.yaml")
trap 'rm -f "$settings"' EXIT
"$PYTHON" check_config.py "$config" "$settings" ${overrides[@]+"${overrides[@]}"} || exit 2

single() {  # once, on the first machine
    [ "${NODE_RANK:-0}" = 0 ] || return 0
    "$PYTHON" "$1" --config "$settings"
}

shared() {  # on all processes of all machines
    local gpus=${GPUS:-1} nodes=${NNODES:-1}
    if [ "$gpus" = 1 ] && [ "$nodes" = 1 ]; then
        "$PYTHON" "$1" --config "$settings"
    elif [ "$nodes" = 1 ]; then
        "$PYTHON" -m torch.distributed.run --standalone --nproc_per_node="$gpus" "$1" --config "$settings"
    else
        "$PYTHON" -m torch.distributed.run --nnodes="$nodes" --node_rank="${NODE_RANK:?}" --nproc_per_node="$gpus" \
            --master_addr="${MASTER_ADDR:?}" --master_port="${MASTER_PORT:-29500}" "$1" --config "$settings"
    fi
}

run_stage() {
    case $1 in
        dataset) single prepare_dataset.py ;;
        train_aesipe | make_cam | make_ir_labels | train_irn | make_seg_labels) shared "$1.py" ;;
        deeplab_train | deeplab_test) shared "deeplab/${1#deeplab_}.py" ;;
        *) single "$1.py" ;;
    esac
}

began=$SECONDS
for ((i = first; i <= last; i++)); do
    echo "== ${STAGES[i]} ($((i + 1)) of ${#STAGES[@]}, $(((SECONDS - began) / 60)) min so far)"
    status=0
    run_stage "${STAGES[i]}" || status=$?
    if [ "$status" != 0 ]; then
        echo "stage ${STAGES[i]} failed: mend it and go on with: bash run_pipeline.sh $config --from ${STAGES[i]} ${overrides[*]-}" >&2
        exit "$status"
    fi
done
echo "done in $((SECONDS - began)) s"
