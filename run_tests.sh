#!/usr/bin/env bash
# Sets up and runs the tests, a file of them on each core; arguments go to pytest (-n 0: in one process).
# AESIPE_REFERENCE and AESIPE_LAB name folders of reference cases and of real photographs for the tests that need them;
# those are skipped otherwise.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
source tool/setup.sh
setup_python requirements-test.txt
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}  # the cores are taken by files of tests
exec "$PYTHON" -m pytest -n auto --dist loadfile "$@"
