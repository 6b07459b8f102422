"""Data sets. Every script imports this package first, so that a Python without the packages gets one line here."""

import sys
from importlib.util import find_spec
from pathlib import Path


def _require_packages():
    if lacking := [name for name in ("numpy", "PIL", "torch", "yaml") if find_spec(name) is None]:
        made = (Path(__file__).resolve().parents[1] / ".venv/bin/activate").exists()
        steps = "" if made else "bash run_pipeline.sh configs/demo.yaml --to dataset; "  # which makes .venv
        print(f"error: {sys.executable} lacks {', '.join(lacking)}: {steps}source .venv/bin/activate", file=sys.stderr)
        raise SystemExit(2)


_require_packages()
