#!/usr/bin/env bash
# The whole pipeline, from the dataset to the report, from one config file.
#
#   bash run_pipeline.sh [CONFIG] [--from STAGE] [--to STAGE] [section.key=value ...]
#
# CONFIG defaults to configs/voc12_resnet101.yaml, the paper's. GPUS=2 runs the stages that share out their work by
# torchrun on that many processes. On several machines, run the same line on each with NNODES, NODE_RANK,
# MASTER_ADDR and MASTER_PORT set and the run folder on a disk that all of them see. Ctrl-C and SIGTERM let the stage
# that runs save what it has; the same line goes on from there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

STAGES=(dataset train_aesipe make_cam eval_cam make_ir_labels train_irn make_seg_labels eval_seg deeplab_train
        deeplab_test report)

usage() {
    sed -n '2,10s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
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
run=$("$PYTHON" check_config.py "$config" "$settings" "$from" "$to" ${overrides[@]+"${overrides[@]}"}) || exit 2
if [ "${NODE_RANK:-0}" = 0 ]; then
    mkdir -p "$run" || fail "$run: cannot be made"
    # Held by this shell and the stages, which inherit the open file; freed when the last of them ends.
    exec 9<>"$run/.lock" || fail "$run/.lock: cannot be opened"
    "$PYTHON" -m tool.lock 9 "$run/.lock" || exit 2
fi

single() {  # once, on the first machine
    [ "${NODE_RANK:-0}" = 0 ] || exit 0
    exec "$PYTHON" "$1" --config "$settings"
}

shared() {  # on all processes of all machines; on one machine --standalone finds a free port
    local gpus=${GPUS:-1} nodes=${NNODES:-1}
    if [ "$gpus" = 1 ] && [ "$nodes" = 1 ]; then
        exec "$PYTHON" "$1" --config "$settings"
    elif [ "$nodes" = 1 ]; then
        exec "$PYTHON" -m tool.launch --standalone --nproc_per_node="$gpus" "$1" --config "$settings"
    else
        exec "$PYTHON" -m tool.launch --nnodes="$nodes" --node_rank="${NODE_RANK:?}" --nproc_per_node="$gpus" \
            --master_addr="${MASTER_ADDR:?}" --master_port="${MASTER_PORT:-29500}" "$1" --config "$settings"
    fi
}

stage=  # the process that runs a stage

pass_on() {  # a signal to the stage, which finishes its step and saves
    stopped=1
    [ -z "$stage" ] || kill "-$1" "$stage" 2>/dev/null || true
}

run_stage() {  # in a process of its own, so that this one can pass signals on
    case $1 in
        dataset) single prepare_dataset.py ;;
        train_aesipe | make_cam | make_ir_labels | train_irn | make_seg_labels) shared "$1.py" ;;
        deeplab_train | deeplab_test) shared "deeplab/${1#deeplab_}.py" ;;
        *) single "$1.py" ;;
    esac
}

stopped=
trap 'pass_on INT' INT
trap 'pass_on TERM' TERM

began=$SECONDS
for ((i = first; i <= last; i++)); do
    echo "== ${STAGES[i]} ($((i + 1)) of ${#STAGES[@]}, $(((SECONDS - began) / 60)) min so far)"
    set -m  # its own process group: Ctrl-C reaches it once, by pass_on
    run_stage "${STAGES[i]}" &
    stage=$!
    set +m
    status=0
    wait "$stage" || status=$?
    while kill -0 "$stage" 2>/dev/null; do  # a signal ended the wait, not the stage
        status=0
        wait "$stage" || status=$?
    done
    stage=
    if [ "$status" != 0 ] || [ -n "$stopped" ]; then
        [ -n "$stopped" ] && what="was stopped: go on" || what="failed: mend it and go on"
        echo "stage ${STAGES[i]} $what with: bash run_pipeline.sh $(printf '%q ' "$config" --from "${STAGES[i]}" ${overrides[@]+"${overrides[@]}"})" >&2
        exit "$((status ? status : 130))"
    fi
done
echo "done in $((SECONDS - began)) s"
