"""Hashes of all that a miniature pipeline makes, to show that a redesign changed nothing that comes out.

    python test/fingerprint.py FOLDER > before.txt      # on the old code; then on the new one, and diff the two

FOLDER must not exist. Every array of a map, every label image's pixels, every tensor of a checkpoint and every score is
hashed by its content: file formats, records and names of folders may change. Equal lines need the same machine, threads
and library versions.
"""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[1]
SMALL = (
    "dataset.train=6",
    "dataset.train_aug=13",
    "dataset.val=4",
    "dataset.size=80",
    "common.num_workers=1",
    "train_aesipe.crop_size=64",
    "train_aesipe.long_side=[56, 80]",
    "train_aesipe.batch_size=4",
    "train_aesipe.max_epochs=1",
    "train_aesipe.lr=0.01",
    "train_aesipe.lr_new=0.1",
    "make_cam.scales=[1.0, 0.5]",
    "eval_cam.maps=[cam, is_cam, ae_is_cam]",
    "eval_cam.background_weight=[0.8, 1.0]",
    "train_irn.crop_size=64",
    "train_irn.radius=5",
    "train_irn.batch_size=4",
    "train_irn.max_epochs=1",
    "make_seg_labels.steps=16",
    "deeplab_train.crop_size=64",
    "deeplab_train.batch_size=4",
    "deeplab_train.max_iters=2",
    "deeplab_test.scales=[1.0]",
    "report.images=2",
    "common.seed=0",
)
# Two steps of every other network: (name, settings).
NETWORKS = {
    "sipe_resnet18": (
        "train_aesipe.structure_features=semantic",
        "train_aesipe.ae=false",
        "train_aesipe.normalization=max",
        "train_aesipe.batch_norm=frozen",
    ),
    "resnet50": ("common.backbone=resnet50", "train_aesipe.batch_norm=frozen", "train_aesipe.frozen_stages=2"),
    "resnet101": ("common.backbone=resnet101", "train_aesipe.batch_norm=frozen", "train_aesipe.frozen_stages=2"),
    "mobilenet_v2": ("common.backbone=mobilenet_v2",),
}


def digest(array):
    array = np.ascontiguousarray(array)
    return hashlib.sha256(f"{array.dtype} {array.shape}".encode() + array.tobytes()).hexdigest()[:16]


def contents(path):
    """(part, hash) of a file that a stage made."""
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as data:
            return [(key, digest(data[key])) for key in ("keys", "cam")]
    if path.suffix == ".png":
        return [("pixels", digest(np.array(Image.open(path))))]
    if path.suffix == ".pt":
        model = torch.load(path, weights_only=True)["model"]
        return [(name, digest(value.numpy())) for name, value in sorted(model.items())]
    return [
        (
            "scores",
            hashlib.sha256(json.dumps(scores(json.loads(path.read_text())), sort_keys=True).encode()).hexdigest()[:16],
        )
    ]


def scores(value):
    """What an evaluation's JSON holds besides its record and checksum."""
    return {key: part for key, part in value.items() if key not in ("record", "checksum")}


def pipeline(folder, name, *settings):
    command = [
        "bash",
        "run_pipeline.sh",
        "configs/demo.yaml",
        *SMALL,
        f"common.dataset_root={folder / 'toy'}",
        f"common.run_root={folder / 'runs'}",
        f"common.session_name={name}",
        *settings,
    ]
    environment = {**os.environ, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    subprocess.run(command, cwd=REPOSITORY, env=environment, check=True, stdout=sys.stderr)
    run = folder / "runs" / name
    for path in sorted(run.rglob("*")):
        inside = path.relative_to(run)
        if path.suffix in (".npz", ".png", ".pt", ".json") and inside.parts[0] != "report":
            for part, value in contents(path):
                print(name, inside, part, value, flush=True)


def main():
    folder = Path(sys.argv[1]).resolve()
    folder.mkdir(parents=True)
    pipeline(folder, "demo")
    for name, settings in NETWORKS.items():
        pipeline(folder, name, "train_irn.weights=none", "deeplab_train.weights=none", *settings)


if __name__ == "__main__":
    main()
