#!/usr/bin/env bash
# Installs pydensecrf2 on Python 3.13 and newer:  bash tool/densecrf.sh PYTHON
# Its release 1.1 is tied to a Cython whose C++ these Pythons refuse. Cython 3 translates the same sources to C++ that
# they take. Older Pythons install it as any other package: nothing is done for them, nor where it is there already.
set -euo pipefail
python=$1
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 13))' || exit 0
! "$python" -c 'import pydensecrf.densecrf' 2>/dev/null || exit 0
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export PIP_QUIET=1 PIP_DISABLE_PIP_VERSION_CHECK=1
"$python" -m pip install --target "$folder/cython" "cython>=3.1"
"$python" -m pip download --no-deps --no-binary pydensecrf2 --dest "$folder" pydensecrf2==1.1
tar -xzf "$folder/pydensecrf2-1.1.tar.gz" -C "$folder"
sources=$folder/pydensecrf2-1.1
# C++ that is newer than its source is kept by the old Cython, which the package's build still asks for.
PYTHONPATH=$folder/cython "$python" -m cython --cplus -X legacy_implicit_noexcept=True "$sources"/pydensecrf/*.pyx \
    2>"$folder/warnings" || { cat "$folder/warnings" >&2; exit 1; }
"$python" -m pip install --no-deps "$sources"
