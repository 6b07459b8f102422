"""A run's networks as graphs, checked against the networks before their files get their names."""

import json
import warnings
from pathlib import Path

import torch

from errors import UserError
from files import atomic
from infer.maps import load_aesipe
from infer.run import trained_class_names
from infer.segmentation import load_deeplab
from net.export import Localizer, differences, import_onnxruntime, save_onnx, save_pt2, trace

CPU = torch.device("cpu")
TOLERANCE = 1e-3  # between the graph and the network
SAVE = {"pt2": save_pt2, "onnx": save_onnx}


def export_network(settings):
    """A trained network -> OUT.pt2 or OUT.onnx, checked against the network before the file gets its name."""
    if Path(settings.out).suffix != f".{settings.format}":
        raise UserError(f"--out {settings.out}: a graph of --format {settings.format} is a .{settings.format} file")
    if settings.format == "onnx":
        import_onnxruntime()  # or its absence would show only after the tracing
    class_names = trained_class_names(settings.run, settings.dataset_root)
    if settings.what == "aesipe":
        model, n_labels = Localizer(load_aesipe(settings.run, len(class_names), CPU)), len(class_names) - 1
    else:
        model, n_labels = load_deeplab(settings.run, len(class_names), CPU), None
    print(f"{settings.out}: tracing, which takes a minute or more", flush=True)
    with atomic(settings.out) as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about itself: its exporters' own calls are deprecated in places
        graph = SAVE[settings.format](trace(model, n_labels), temporary, about(settings.what, class_names, model))
        worst = differences(graph, model, n_labels)
        if not max(worst.values()) <= TOLERANCE:  # NaN is not
            raise UserError(
                f"{settings.out}: not written: the graph differs from the network by {worst}, where {TOLERANCE} "
                "is allowed"
            )
    print(
        f"{settings.out}: {Path(settings.out).stat().st_size / 2**20:.1f} MiB; largest differences to the network: "
        + ", ".join(f"{name} {value:.1e}" for name, value in worst.items())
    )


def about(what, class_names, model):
    """What one must know to use a graph, as JSON: it is in the .pt2 file as extra file about.json."""
    maps = "float [N,K,h,w] in [0,1] at stride 16"
    inputs = {"image": "float [N,3,H,W], RGB in [0,1], H and W from 17 up; normalised inside"}
    outputs = {"logits": "float [N,K,H,W], before the softmax over classes"}
    if what == "aesipe":
        inputs["labels"] = "float [N,K-1] in {0,1}: the classes of each image, without the background"
        outputs = {"score": "float [N,K-1], class logits", "cam": maps, "is_cam": maps, "ae_is_cam": maps}
    part = next(module for module in model.modules() if hasattr(module, "mean") and hasattr(module, "std"))
    inside = {name: [round(value, 6) for value in getattr(part, name).flatten().tolist()] for name in ("mean", "std")}
    said = {"network": what, "class_names": class_names, "inputs": inputs, "outputs": outputs}
    return json.dumps(said | {"normalization_inside": inside}, indent=1)
