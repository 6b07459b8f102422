"""What a run's networks say of any photograph, asked by predict.py and app.py."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import torch

from data.image import image_size, read_image, scaled_size
from data.transforms import resized
from errors import UserError, nearest
from infer.maps import class_probabilities, load_aesipe, multi_scale_maps
from infer.run import require_network
from infer.segmentation import likely_classes, load_deeplab, multi_scale_probabilities
from module.crf import dense_crf_labels, dense_crf_probabilities
from module.labels import weighted_argmax
from tool.settings import MAPS
from tool.stages import AESIPE, DEEPLAB

MAX_SIDE = 640  # the paper's longest image in training


def trained_networks(run):
    """Names of the networks that a run has, of NETWORKS. Raises UserError if there is none."""
    require_network(run)
    return [name for name, (path, *_) in NETWORKS.items() if (run / path).exists()]


def chosen_networks(run, choice):
    """Names of the networks to use, of NETWORKS. choice: `tool.settings.Predict.network`."""
    if choice is None:
        return trained_networks(run)[:1]
    return list(NETWORKS) if choice == "all" else [choice]


def chosen_classes(labels, class_names):
    """("cat", "person") or ("cat,person",) -> [8, 15]; None for None."""
    if labels is None:
        return None
    names = [name.strip() for name in ",".join(labels).split(",") if name.strip()]
    unknown = next((name for name in names if name not in class_names[1:]), None)
    if unknown is not None or not names:
        raise UserError(
            f"--labels {' '.join(labels)}: {unknown or 'no name'!r} is no class of this run"
            f"{nearest(unknown or '', class_names[1:])}: its classes are {', '.join(class_names[1:])}"
        )
    return sorted({class_names.index(name) for name in names})


def read_for_network(path, max_side, scales):
    """(uint8 [3,h,w] of at most max_side, size (H, W) of the whole image). scales: by which it must be resizable."""
    size = image_size(path)
    factor = min(1, max_side / max(size))
    seen = [max(1, round(side * factor)) for side in size]
    for scale in scales:
        scaled_size(seen, scale, f"{path}: an image")
    return resized(read_image(path, at_least=seen), seen), size


class Output(NamedTuple):
    """One kind of labels of an image: the argmax of scores [k,h,w] after the background's is multiplied by its weight.

    heat: the map [k,h,w] in [0,1] before its CRF; None for a segmentation, which has none.
    """

    scores: np.ndarray
    background_weight: float = 1.0
    heat: np.ndarray | None = None


def segment(model, scales, class_names, settings, dtype, image, classes, crf):
    """The segmentation of one image among the classes, or all for None: see `Network`."""
    probabilities = multi_scale_probabilities(model, image, scales, True, dtype).cpu()
    if classes is None:
        classes = likely_classes(probabilities).tolist()
    keys = np.array(sorted({0, *classes}))
    kept = probabilities[keys].numpy()
    kept = kept / np.maximum(kept.sum(axis=0), 1e-12)
    if crf:
        kept = dense_crf_probabilities(image.permute(1, 2, 0).cpu().numpy(), kept)
    labels, found = kept.argmax(axis=0), []
    for i in np.setdiff1d(labels, 0):
        where = labels == i
        found.append((kept[i][where].mean(), class_names[keys[i]], f" ({100 * where.mean():.0f} %)"))
    return keys, {"deeplab": Output(kept)}, _said(found) or class_names[0]


def localize(model, scales, class_names, settings, dtype, image, classes, crf):
    """Maps of one image for the classes, or for None of those that the classifier finds: see `Network`."""
    probabilities, unsure = class_probabilities(model, image, dtype), ""
    if classes is None:
        classes = ((probabilities >= settings.threshold).nonzero()[:, 0] + 1).tolist()
        if not classes:
            unsure = f"none from {settings.threshold:g} up, the strongest: "
            classes = [int(probabilities.argmax()) + 1]
    labels = torch.zeros_like(probabilities)
    labels[[k - 1 for k in classes]] = 1
    keys, maps = multi_scale_maps(model, image, labels, scales, MAPS, dtype)
    outputs, pixels = {}, image.permute(1, 2, 0).cpu().numpy()
    for kind, cam in maps.items():
        cam = cam.cpu().numpy()
        outputs[kind] = Output(cam, settings.background_weight, heat=cam)
        if crf:
            refined = dense_crf_labels(pixels, weighted_argmax(cam, settings.background_weight), len(cam))
            one_hot = refined == np.arange(len(cam))[:, None, None]
            outputs[kind] = Output(one_hot.astype(np.float32), heat=cam)
    found = [(float(probabilities[k - 1]), class_names[k], "") for k in classes]
    return keys.cpu().numpy(), outputs, unsure + _said(found)


def _said(found):
    """`cat 0.97 (23 %), dog 0.61 (4 %)`, the probable first. found: [(probability, name, its share in words)]."""
    found = sorted(found, key=lambda each: -each[0])
    return ", ".join(f"{name} {probability:.2f}{share}" for probability, name, share in found)


class Network(NamedTuple):
    """A trained network to ask.

    ask: function from an image, uint8 [3,h,w] on the network's device, the classes to look for, None for all, and
    whether dense CRF refines the labels, to (keys [k]: classes, background first; {kind: Output}; what was found, in
    words). scales: factors of the image's size. kinds: of its outputs.
    """

    name: str
    ask: Callable
    scales: tuple
    kinds: tuple


def load_networks(names, settings, class_names, dtype, device):
    """The Networks of these names, of NETWORKS. settings: `tool.settings.Predict` or `tool.settings.App`."""
    loaded = []
    for name in names:
        _, load, use, stage, kinds = NETWORKS[name]
        scales = settings.scales or settings.run.used_settings(stage).scales
        model = load(settings.run, len(class_names), device)
        ask = partial(use, model, scales, class_names, settings, dtype)
        loaded.append(Network(name, ask, scales, kinds))
    return loaded


# Name -> (checkpoint, how it is loaded, what asks it, the stage whose scales it takes, kinds of its outputs).
NETWORKS = {
    "deeplab": (DEEPLAB, load_deeplab, segment, "deeplab_test", ("deeplab",)),
    "aesipe": (AESIPE, load_aesipe, localize, "make_cam", MAPS),
}


def trained_side(run):
    """The longest image, in pixels, that the run's AE-SIPE was trained on; the paper's if it has none."""
    return run.trained_settings(AESIPE, "train_aesipe").long_side[-1] if (run / AESIPE).exists() else MAX_SIDE
