# Sourced by run_pipeline.sh and run_tests.sh: leaves in PYTHON an interpreter that has what the file $1 asks for.
# An environment that has it is used as it is; else .venv is made, once.
setup_python() {
    local requirements=$1 found answer
    unset PYTHONSAFEPATH  # the scripts import from their own folder
    for found in "${PYTHON:-}" python3 python .venv/bin/python; do
        [ -n "$found" ] || continue
        answer=$("$found" -m tool.requirements "$requirements" 2>/dev/null </dev/null) || true
        case ${answer##*$'\n'} in
            complete)
                [ "$found" = "${PYTHON:-$found}" ] || echo "setup: $PYTHON lacks some of $requirements: using $found"
                PYTHON=$found
                return ;;
            incomplete) ;;
            *)
                [ "$found" != "${PYTHON:-}" ] ||
                    { echo "error: PYTHON=$PYTHON is no Python 3 that runs: name another or leave it out" >&2; exit 2; } ;;
        esac
    done
    echo "setup: making .venv and installing $requirements (once; PyTorch is large, this takes some minutes)"
    local base=${PYTHON:-python3}
    "$base" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null ||
        { echo "error: Python 3.10 or newer is needed: put it first on PATH or name it by PYTHON=" >&2; exit 2; }
    [ -x .venv/bin/python ] || "$base" -m venv .venv ||
        { echo "error: $base cannot make .venv: install its venv package" >&2; exit 2; }
    { bash tool/densecrf.sh .venv/bin/python &&
        .venv/bin/python -m pip install --quiet --disable-pip-version-check -r "$requirements"; } ||
        { echo "error: $requirements could not be installed into .venv: see pip's message above" >&2; exit 2; }
    PYTHON=.venv/bin/python
}
