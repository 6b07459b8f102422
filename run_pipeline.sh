#!/usr/bin/env bash
# The whole pipeline, from the dataset to the report, from one config file.
#
#   bash run_pipeline.sh [CONFIG] [--from STAGE] [--to STAGE] [section.key=value ...]
#
# CONFIG defaults to configs/voc12_resnet101.yaml, the paper's. A relative one is looked for where you stand, then in
# the repository; relative paths within it and on the line, such as dataset_root and run_root, always start at the
# repository, so that a config means the same wherever it is called from. Of a setting, --from or --to that is given
# twice the later one counts. section.key=null stands for the default.
#
# GPUS=2 runs the stages that share out their work by torchrun on that many processes; the batch sizes are the global
# ones. On several machines, run the same line on each with NNODES, NODE_RANK, MASTER_ADDR and MASTER_PORT set and the
# run folder on a disk that all of them see. PYTHON names the interpreter, TMPDIR the folder of temporary files. Ctrl-C
# and SIGTERM let the stage that runs save what it has; the same line continues from there. At the end come the scores and
# the time of each stage, and where to look next.
[ -n "${BASH_VERSION:-}" ] || { echo "error: $0 needs bash: bash $0 $*" >&2; exit 2; }
set -euo pipefail
{  # read to its end before it starts: a long run survives that this file changes
unset CDPATH PYTHONSAFEPATH  # the scripts import from their own folder
unset RANK WORLD_SIZE LOCAL_RANK  # they would have a stage wait for processes that nobody starts
here=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")"

stand_or_repository() {  # a path as it is meant: from where the user stands, else from the repository
    if [[ $1 != /* ]] && [ -e "$here/$1" ] && ! [ "$here" -ef . ]; then echo "$here/$1"; else echo "$1"; fi
}

[[ ${PYTHON:-} != */* ]] || PYTHON=$(stand_or_repository "$PYTHON")
STAGES=() SCRIPTS=() PROCESSES=()  # of tool/stages.py
table=$("${PYTHON:-python3}" -m tool.stages 2>/dev/null </dev/null) || true
if [[ $table != "dataset "* ]]; then
    [ -n "${PYTHON:-}" ] && echo "error: PYTHON=$PYTHON is no Python 3 that runs: name another or leave it out" >&2 ||
        echo "error: Python 3.10 or newer is needed: put it first on PATH or name it by PYTHON=" >&2
    exit 2
fi
while read -r name script processes; do
    STAGES+=("$name") SCRIPTS+=("$script") PROCESSES+=("$processes")
done <<<"$table"

usage() {
    sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]##*/}"
    echo "stages: ${STAGES[*]}"
}

fail() {
    echo "error: $1" >&2
    exit 2
}

nearest() {  # WORD NAME...: the name that was meant, if one is like it
    "${PYTHON:-python3}" -c 'import sys; from errors import nearest; print(nearest(sys.argv[1], sys.argv[2:]))' "$@"
}

as_setting() {  # FLAG: what it is here, if it is one of a stage's script and a Python has what tool.settings needs
    "${PYTHON:-python3}" -m tool.hint "$1" 2>/dev/null || .venv/bin/python -m tool.hint "$1" 2>/dev/null || true
}

position() {  # number of a stage
    local i
    for i in "${!STAGES[@]}"; do
        [ "${STAGES[i]}" = "$1" ] && echo "$i" && return
    done
    fail "stage '$1' is unknown$(nearest "$1" "${STAGES[@]}"): stages are ${STAGES[*]}"
}

config_argument() {
    [ -z "$config" ] || fail "'$config' and '$1' cannot both be the config: quote values that hold spaces"
    config=$1
}

whole_number() {  # NAME LOWEST HIGHEST: the variable holds one
    [[ ${!1} =~ ^(0|[1-9][0-9]{0,4})$ ]] && ((${!1} >= $2 && ${!1} <= $3)) ||
        fail "$1=${!1} must be a whole number from $2 to $3"
}

config=
from=${STAGES[0]}
to=${STAGES[${#STAGES[@]} - 1]}
overrides=()
while [ $# -gt 0 ]; do
    case $1 in
        -h | --help) usage; exit 0 ;;
        --version) exec "${PYTHON:-python3}" -c 'from conventions import VERSION; print(f"AE-SIPE {VERSION}")' ;;
        --from | --to)
            [ $# -ge 2 ] || fail "$1 needs a stage: stages are ${STAGES[*]}"
            [ "$1" = --from ] && from=$2 || to=$2
            shift ;;
        --from=*) from=${1#*=} ;;
        --to=*) to=${1#*=} ;;
        "") fail "an argument is empty: a variable without a value?" ;;
        -*)
            hint=$(as_setting "$1")
            [ -z "$hint" ] || fail "$hint"
            hint=$(nearest "${1%%=*}" --from --to --help --version)
            [ -n "$hint" ] || hint=": flags belong to the stages' scripts: write a config as its path alone, and a setting \
as section.key=value, such as common.dataset_root=VALUE"
            fail "$1 is unknown$hint: see --help" ;;
        *=*) if [[ ${1%%=*} = */* ]]; then config_argument "$1"; else overrides+=("$1"); fi ;;
        *) config_argument "$1" ;;
    esac
    shift
done
first=$(position "$from") || exit 2
last=$(position "$to") || exit 2
((first <= last)) || fail "--from $from comes after --to $to: stages are ${STAGES[*]}"
config=${config:-configs/voc12_resnet101.yaml}
config_path=$(stand_or_repository "$config")
[ -e "$config_path" ] ||
    fail "$config: cannot be read: there is no such file in $here$([ "$here" -ef . ] || echo " or $PWD")$(
        "${PYTHON:-python3}" -c 'import sys; from errors import nearest_config as n; print(n(sys.argv[1]))' "$config")"

given=()  # what the next call needs as well
for name in GPUS NNODES NODE_RANK MASTER_ADDR MASTER_PORT; do
    [ -z "${!name:-}" ] || given+=("$name=${!name}")
done
export GPUS=${GPUS:-1} NNODES=${NNODES:-1}
whole_number GPUS 1 1024
whole_number NNODES 1 1024
[ "$NNODES" = 1 ] || [ -n "${NODE_RANK:-}" ] || fail "NNODES=$NNODES needs NODE_RANK, this machine's number from 0"
[ "$NNODES" = 1 ] || [ -n "${MASTER_ADDR:-}" ] || fail "NNODES=$NNODES needs MASTER_ADDR, the name of machine 0"
NODE_RANK=${NODE_RANK:-0} MASTER_PORT=${MASTER_PORT:-29500}
whole_number NODE_RANK 0 $((NNODES - 1))
whole_number MASTER_PORT 1 65535

source tool/setup.sh
setup_python requirements.txt

settings=$(mktemp "${TMPDIR:-/tmp}/aesipe.XXXXXX.yaml" 2>/dev/null) ||
    fail "${TMPDIR:-/tmp}: no file can be made there: name another folder by TMPDIR="
trap 'rm -f "$settings"' EXIT
run=$(RUN_STAGES="${STAGES[*]:first:last-first+1}" "$PYTHON" check_config.py "$config_path" "$settings" \
    ${overrides[@]+"${overrides[@]}"}) || exit 2
if [ "$NODE_RANK" = 0 ]; then
    reason=$(mkdir -p -- "$run" 2>&1) ||
        fail "$run: cannot be made (${reason##*: }): choose another common.run_root or common.session_name"
    [ -f "$run/.lock" ] || [ ! -e "$run/.lock" ] || fail "$run/.lock: is no file: delete it"
    # Tried in a shell of its own first: where exec cannot open a file, it ends the shell without a word of ours.
    (exec 9<>"$run/.lock") 2>/dev/null || fail "$run/.lock: cannot be written: choose another common.run_root"
    # Held by this shell and the stages, which inherit the open file; freed when the last of them ends.
    exec 9<>"$run/.lock"
    "$PYTHON" -m tool.lock 9 "$run/.lock" || exit 2
fi

single() {  # once, on the first machine
    [ "$NODE_RANK" = 0 ] || exit 0
    exec "$PYTHON" "$1" --config "$settings"
}

shared() {  # on all processes of all machines; on one machine --standalone finds a free port
    if [ "$GPUS" = 1 ] && [ "$NNODES" = 1 ]; then
        exec "$PYTHON" "$1" --config "$settings"
    elif [ "$NNODES" = 1 ]; then
        exec "$PYTHON" -m tool.launch --standalone --nproc_per_node="$GPUS" "$1" --config "$settings"
    else
        # A machine may wait for days for the first, which alone makes the data set and evaluates.
        exec "$PYTHON" -m tool.launch --nnodes="$NNODES" --node_rank="$NODE_RANK" --nproc_per_node="$GPUS" \
            --master_addr="$MASTER_ADDR" --master_port="$MASTER_PORT" --rdzv_conf=timeout=604800 "$1" --config "$settings"
    fi
}

end=()  # of what is asked for, where it is not the last stage
((last == ${#STAGES[@]} - 1)) || end=(--to "$to")

call_from() {  # STAGE [--to STAGE]: the line that continues from there
    printf '%q ' ${given[@]+"${given[@]}"} bash "$0" "$config" --from "$@" ${overrides[@]+"${overrides[@]}"}
}

stage=  # the process that runs a stage

pass_on() {  # a signal to the stage, which finishes its step and saves
    stopped=1
    [ -z "$stage" ] || kill "-$1" "$stage" 2>/dev/null || true
}

run_stage() {  # in a process of its own, so that this one can pass signals on
    if [ "${PROCESSES[$1]}" = all ]; then shared "${SCRIPTS[$1]}"; else single "${SCRIPTS[$1]}"; fi
}

stopped=
trap 'pass_on INT' INT
trap 'pass_on TERM' TERM

summed=("${STAGES[@]:0:last+1}")  # what the last words are of
began=$SECONDS
for ((i = first; i <= last; i++)); do
    export STAGE_NUMBER="$((i + 1))/${#STAGES[@]}"
    echo "== $STAGE_NUMBER ${STAGES[i]} ($(((SECONDS - began) / 60)) min so far)"
    start=$SECONDS
    set -m  # its own process group: Ctrl-C reaches it once, by pass_on
    run_stage "$i" &
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
        [ -n "$stopped" ] && what="was stopped: continue" || what="failed: fix it and continue"
        [ ! -t 2 ] || echo >&2  # below the progress bar
        echo "stage ${STAGES[i]} $what with: $(call_from "${STAGES[i]}" ${end[@]+"${end[@]}"})" >&2
        exit "$((status ? status : 130))"
    fi
    [ "${STAGES[i]}" != dataset ] || summed[i]=dataset=$((SECONDS - start))  # a data set is no run's: no log tells it
done
echo "done in $((SECONDS - began)) s"
if [ "$NODE_RANK" = 0 ]; then
    [[ $run = /* ]] || [ "$here" -ef . ] || run=$PWD/$run
    "$PYTHON" -m viz.summary "$run" "${summed[@]}"
fi
if ((last < ${#STAGES[@]} - 1)); then
    echo "next: $(call_from "${STAGES[last + 1]}")"
fi
exit
}
