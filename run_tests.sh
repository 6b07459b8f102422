#!/usr/bin/env bash
# Sets up and runs the tests; arguments go to pytest. AESIPE_REFERENCE and AESIPE_LAB name folders of reference
# cases and of real photographs for the tests that need them; those are skipped otherwise.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
source tool/setup.sh
setup_python requirements-test.txt
exec "$PYTHON" -m pytest "$@"
