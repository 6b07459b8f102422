"""What a run's networks say of any photograph, asked by predict.py: palette PNGs, overlays and heat maps."""

import numpy as np
import torch

from data.image import check_scales, image_size, read_image
from data.label_png import save_label_png, voc_palette
from data.transforms import resized
from errors import UserError
from files import atomic
from infer.maps import class_probabilities, load_aesipe, multi_scale_maps
from infer.segmentation import load_deeplab, multi_scale_probabilities
from module.crf import dense_crf_labels, dense_crf_probabilities
from module.labels import labels_at_size, weighted_argmax
from tool.settings import MAPS, Scales
from tool.stages import BY_NAME
from tool.values import read
from viz.overlay import heat, in_grid, overlay, save_jpeg, with_legend

NETWORKS = {"deeplab": ("deeplab",), "aesipe": MAPS}  # what each writes
ENDINGS = (".png", "_overlay.jpg", "_heat.jpg")
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
    return keys, {"deeplab": kept}, found


def localize(model, image, classes, scales, settings, dtype):
    """Maps of one image for the classes, or for None of those that the classifier finds.

    image: uint8 [3,h,w] on the model's device. Returns (keys [k], background first; {kind: scores [k,h,w] in [0,1]};
    {class: (probability, its share of the image or None)} of the classes found).
    """
    probabilities = class_probabilities(model, image, dtype)
    if classes is None:
        above = (probabilities >= settings.threshold).nonzero()[:, 0].tolist()
        classes = [k + 1 for k in above or [int(probabilities.argmax())]]
    labels = torch.zeros_like(probabilities)
    labels[[k - 1 for k in classes]] = 1
    keys, maps = multi_scale_maps(model, image, labels, scales, NETWORKS["aesipe"], dtype)
    return (
        keys.cpu().numpy(),
        {kind: cam.cpu().numpy() for kind, cam in maps.items()},
        {k: (float(probabilities[k - 1]), None) for k in classes},
    )


def final_scores(kind, scores, image, settings):
    """(scores [k,h,w], background weight) whose weighted argmax is the labels of a kind of output, after its CRF."""
    if kind == "deeplab":
        return scores, 1.0
    if not settings.crf:
        return scores, settings.background_weight
    labels = dense_crf_labels(image, weighted_argmax(scores, settings.background_weight), len(scores))
    return (labels == np.arange(len(scores))[:, None, None]).astype(np.float32), 1.0


def write_outputs(start, image, size, keys, maps, class_names, settings):
    """Write START_KIND.png of `size`, and START_KIND_overlay.jpg and for maps START_KIND_heat.jpg of the image's.

    image: uint8 [h,w,3], as the network saw it. Returns the files' names.
    """
    palette, written = voc_palette(), []
    legend = [(class_names[k], palette[k]) for k in keys]
    for kind, scores in maps.items():
        final, weight = final_scores(kind, scores, image, settings)
        paths = [start.with_name(f"{start.name}_{kind}{ending}") for ending in ENDINGS]
        with atomic(paths[0]) as temporary:
            save_label_png(temporary, keys.astype(np.uint8)[labels_at_size(final, size, weight)])
        labels = keys[weighted_argmax(final, weight)]
        shown = [(class_names[k], palette[k]) for k in np.unique(labels) if k]
        save_jpeg(paths[1], with_legend(overlay(image, labels, palette), shown))
        if kind != "deeplab":
            save_jpeg(
                paths[2], in_grid([with_legend(heat(image, scores[i]), [legend[i]]) for i in range(1, len(keys))])
            )
        written += [path.name for path in paths[: 2 if kind == "deeplab" else 3]]
    return written


def describe(found, class_names):
    """`cat 0.97 (23 %), dog 0.61 (4 %)`, the probable first."""
    parts = []
    for k, (probability, share) in sorted(found.items(), key=lambda item: -item[1][0]):
        parts.append(f"{class_names[k]} {probability:.2f}" + (f" ({100 * share:.0f} %)" if share is not None else ""))
    return ", ".join(parts) or class_names[0]


def load_networks(settings, n_classes, device):
    """[(name, network, the function that uses it, scales)] of the chosen networks."""
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
        loaded.append((name, model, use, scales))
    return loaded


def ask(image, size, start, networks, classes, class_names, settings, dtype):
    """Ask the networks about one image, uint8 [3,h,w] on their device, and write what they say at `size` to START_*.

    Returns (what was found, names of the files).
    """
    pixels = image.permute(1, 2, 0).cpu().numpy()
    said, written = [], []
    for name, model, use, scales in networks:
        keys, maps, found = use(model, image, classes, scales, settings, dtype)
        unsure = name == "aesipe" and classes is None and max(p for p, _ in found.values()) < settings.threshold
        said.append(
            (f"{name}: " if len(networks) > 1 else "")
            + (f"none from {settings.threshold:g} up, the strongest: " if unsure else "")
            + describe(found, class_names)
        )
        written += write_outputs(start, pixels, size, keys, maps, class_names, settings)
    return "; ".join(said), written


def trained_side(run):
    """The longest image, in pixels, that the run's AE-SIPE was trained on; the paper's if it has none."""
    if not (run / "ckpt" / "aesipe.pt").exists():
        return MAX_SIDE
    return run.trained_settings("ckpt/aesipe.pt", "train_aesipe").long_side[-1]
