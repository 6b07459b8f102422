"""What a run's networks say of any photograph, asked by predict.py."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from data.image import check_scales, image_size, read_image
from data.transforms import resized
from errors import UserError
from infer.maps import class_probabilities, load_aesipe, multi_scale_maps
from infer.segmentation import load_deeplab, multi_scale_probabilities
from module.crf import dense_crf_labels, dense_crf_probabilities
from module.labels import weighted_argmax
from tool.settings import MAPS, Scales
from tool.stages import BY_NAME
from tool.values import read

NETWORKS = {"deeplab": ("deeplab",), "aesipe": MAPS}  # what each writes
MAX_SIDE = 640  # the paper's longest image in training


def chosen_networks(run, choice):
    """Names of the networks to use, of NETWORKS."""
    if choice == "all":
        return list(NETWORKS)
    if choice is None:
        choice = next((name for name in NETWORKS if (run / "ckpt" / f"{name}.pt").exists()), None)
        if choice is None:
            raise UserError(
                f"{run}: has neither ckpt/deeplab.pt nor ckpt/aesipe.pt: is --run the folder of a run "
                "whose training is finished?"
            )
    return [choice]


def chosen_classes(text, class_names):
    """`cat,person` -> [8, 15]; None for None."""
    if text is None:
        return None
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = next((name for name in names if name not in class_names[1:]), None)
    if unknown is not None or not names:
        raise UserError(
            f"--labels {text}: {unknown or 'no name'!r} is no class of this run: its classes are "
            f"{', '.join(class_names[1:])}"
        )
    return sorted({class_names.index(name) for name in names})


def read_for_network(path, max_side, scales):
    """(uint8 [3,h,w] of at most max_side, size (H, W) of the whole image). scales: by which it must be resizable."""
    size = image_size(path)
    factor = min(1, max_side / max(size))
    seen = [max(1, round(side * factor)) for side in size]
    check_scales(path, seen, scales)
    return resized(read_image(path, at_least=seen), seen), size


class Output(NamedTuple):
    """One kind of labels of an image: the argmax of scores [k,h,w] after the background's is multiplied by its weight.

    heat: the map [k,h,w] in [0,1] before its CRF; None for a segmentation, which has none.
    """

    scores: np.ndarray
    background_weight: float = 1.0
    heat: np.ndarray | None = None


def segment(model, image, classes, scales, settings, dtype):
    """The segmentation of one image among the classes, or all for None: see `localize`."""
    probabilities = multi_scale_probabilities(model, image, scales, True, dtype).cpu()
    if classes is None:  # those that have any probability, as in deeplab/test.py
        likely = probabilities.amax(dim=(1, 2)) > min(0.01, 0.5 / len(probabilities))
        classes = likely.nonzero()[:, 0].tolist()
    keys = np.array(sorted({0, *classes}))
    kept = probabilities[keys].numpy()
    kept = kept / np.maximum(kept.sum(axis=0), 1e-12)
    if settings.crf:
        kept = dense_crf_probabilities(image.permute(1, 2, 0).cpu().numpy(), kept)
    labels = kept.argmax(axis=0)
    found = {
        k: (float(kept[i][labels == i].mean()), float((labels == i).mean()))
        for i, k in enumerate(keys)
        if k and (labels == i).any()
    }
    return keys, {"deeplab": Output(kept)}, found


def localize(model, image, classes, scales, settings, dtype):
    """Maps of one image for the classes, or for None of those that the classifier finds.

    image: uint8 [3,h,w] on the model's device. Returns (keys [k], background first; {kind: Output}; {class:
    (probability, its share of the image or None)} of the classes found).
    """
    probabilities = class_probabilities(model, image, dtype)
    if classes is None:
        above = (probabilities >= settings.threshold).nonzero()[:, 0].tolist()
        classes = [k + 1 for k in above or [int(probabilities.argmax())]]
    labels = torch.zeros_like(probabilities)
    labels[[k - 1 for k in classes]] = 1
    keys, maps = multi_scale_maps(model, image, labels, scales, MAPS, dtype)
    pixels = image.permute(1, 2, 0).cpu().numpy()
    return (
        keys.cpu().numpy(),
        {kind: _map_output(pixels, cam.cpu().numpy(), settings) for kind, cam in maps.items()},
        {k: (float(probabilities[k - 1]), None) for k in classes},
    )


def _map_output(pixels, cam, settings):
    if not settings.crf:
        return Output(cam, settings.background_weight, heat=cam)
    labels = dense_crf_labels(pixels, weighted_argmax(cam, settings.background_weight), len(cam))
    return Output((labels == np.arange(len(cam))[:, None, None]).astype(np.float32), heat=cam)


def describe(found, class_names):
    """`cat 0.97 (23 %), dog 0.61 (4 %)`, the probable first."""
    parts = []
    for k, (probability, share) in sorted(found.items(), key=lambda item: -item[1][0]):
        parts.append(f"{class_names[k]} {probability:.2f}" + (f" ({100 * share:.0f} %)" if share is not None else ""))
    return ", ".join(parts) or class_names[0]


class Network(NamedTuple):
    """A trained network: use is `segment` or `localize`, scales are factors of the image's size."""

    name: str
    model: torch.nn.Module
    use: Callable
    scales: tuple


def load_networks(settings, n_classes, device):
    """The chosen Networks. settings: `tool.settings.Predict`."""
    config, loaded = settings.run.config(), []
    for name in chosen_networks(settings.run, settings.network):
        if name == "deeplab":
            stage, use, model = "deeplab_test", segment, load_deeplab(settings.run, n_classes, device)
        else:
            stage, use, model = "make_cam", localize, load_aesipe(settings.run, n_classes, device)
        scales = settings.scales or config.get(stage, {}).get("scales") or BY_NAME[stage].settings().scales
        try:
            scales = read(Scales, scales)
        except (TypeError, ValueError) as error:  # in a file that anyone may have edited
            raise UserError(
                f"{settings.run / 'config.yaml'}: {stage}.scales: {error}: mend it, or give --scales"
            ) from error
        loaded.append(Network(name, model, use, scales))
    return loaded


def ask(network, image, classes, class_names, settings, dtype):
    """Ask a Network about one image, uint8 [3,h,w] on its device, among the classes, or all for None.

    Returns (keys [k]: classes, background first; {kind: Output}; what was found, in words).
    """
    keys, outputs, found = network.use(network.model, image, classes, network.scales, settings, dtype)
    unsure = network.use is localize and classes is None and max(p for p, _ in found.values()) < settings.threshold
    said = f"none from {settings.threshold:g} up, the strongest: " if unsure else ""
    return keys, outputs, said + describe(found, class_names)


def trained_side(run):
    """The longest image, in pixels, that the run's AE-SIPE was trained on; the paper's if it has none."""
    if not (run / "ckpt" / "aesipe.pt").exists():
        return MAX_SIDE
    return run.trained_settings("ckpt/aesipe.pt", "train_aesipe").long_side[-1]
