"""Importing this ends a Python without the packages in one line; whatever a user starts imports it before them."""

import sys
from importlib.util import find_spec
from pathlib import Path

# requirements.txt as it is imported; tensorboard, which a run can do without, has its own line in tool.tracker.
IMPORTED = (
    "PIL",
    "cv2",
    "defusedxml",
    "jinja2",
    "matplotlib",
    "msgspec",
    "numpy",
    "pydensecrf",
    "scipy",
    "torch",
    "torchvision",
    "tqdm",
    "yaml",
)


def _require_packages():
    if lacking := [name for name in IMPORTED if find_spec(name) is None]:
        made = (Path(__file__).resolve().parent / ".venv/bin/activate").exists()
        steps = "" if made else "bash run_pipeline.sh configs/demo.yaml --to dataset; "  # which makes .venv
        print(f"error: {sys.executable} lacks {', '.join(lacking)}: {steps}source .venv/bin/activate", file=sys.stderr)
        raise SystemExit(2)


_require_packages()
