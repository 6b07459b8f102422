#!/usr/bin/env bash
# Sets up and runs the tests, a file of them on each core; arguments go to pytest (-n 0: in one process).
#   bash run_tests.sh           the tests that take seconds each
#   bash run_tests.sh -m slow   those that take minutes
#   bash run_tests.sh --lint    format, lint, types and the direction of imports
# AESIPE_LAB names a folder of real photographs for the tests that need one; they are skipped otherwise.
[ -n "${BASH_VERSION:-}" ] || { echo "error: $0 needs bash: bash $0 $*" >&2; exit 2; }
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
source tool/setup.sh
setup_python requirements-test.txt
if [ "${1:-}" = --lint ]; then
    "$PYTHON" -m ruff format --check --quiet . || { echo "ruff format changes the files that it lists" >&2; exit 1; }
    "$PYTHON" -m ruff check .
    "$PYTHON" -m mypy
    exec "$PYTHON" -c "from importlinter.cli import lint_imports_command; lint_imports_command()"
fi
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}  # the cores are taken by files of tests
exec "$PYTHON" -m pytest -n auto --dist loadfile --no-loadscope-reorder "$@"
