"""Exported maps against the masks: per image, and mIoU along the background's weight and along a threshold.

One pass over the maps serves every weight and threshold: a pixel turns from foreground to background at one value, so
pixels are counted by the interval of values in which they turn.
"""

from functools import partial
from typing import NamedTuple

import numpy as np

from conventions import IGNORE
from module.labels import weighted_argmax
from tool.cam_file import load_cam
from tool.metric import label_confusion_matrix, scores
from tool.parallel import parallel_map
from viz.runs import MAP_NAMES

WEIGHTS = np.round(np.arange(41) * 0.05, 2)  # factors on the background's score
THRESHOLDS = np.round(np.arange(40) * 0.025, 3)  # constant scores of the background


class MapScores(NamedTuple):
    """Of one kind of map. miou: {ID: mIoU of the image}. weights, thresholds: mIoU at WEIGHTS and at THRESHOLDS."""

    miou: dict
    weights: np.ndarray
    thresholds: np.ndarray


def turn_counts(truth, labels, values, edges, n_classes):
    """Pixels by class and by the interval of `edges` in which they turn from foreground to background.

    truth: [H,W] in 0..K-1 or 255. labels: [H,W], the strongest foreground class. values: [H,W]; a pixel is foreground
    at an edge if its value is above it. edges: [B], ascending.
    Returns int64 [3,K,B+1]: pixels by label, those by label that are right, and pixels by truth.
    """
    known = truth != IGNORE
    interval = np.searchsorted(edges, values[known], side="left")
    shape = n_classes, n_classes, len(edges) + 1
    pixels = np.ravel_multi_index((truth[known].astype(np.int64), labels[known].astype(np.int64), interval), shape)
    joint = np.bincount(pixels, minlength=np.prod(shape)).reshape(shape)  # by truth, label and interval
    return np.stack([joint.sum(axis=0), np.einsum("kkb->kb", joint), joint.sum(axis=1)])


def miou_at_edges(counts):
    """counts: of `turn_counts`, summed over images. Returns the mIoU [B] over the classes that occur in the truth."""
    predicted, right, truth = counts
    # Above the edge: foreground of its class. Below: background, right where the truth is.
    predicted_at, right_at = (part[:, :0:-1].cumsum(axis=1)[:, ::-1].astype(np.float64) for part in (predicted, right))
    predicted_at[0] = predicted.sum(axis=0).cumsum()[:-1]
    right_at[0] = truth[0].cumsum()[:-1]
    total = truth.sum(axis=1, keepdims=True)
    iou = right_at / np.maximum(total + predicted_at - right_at, 1)
    return iou[total[:, 0] > 0].mean(axis=0)


def image_counts(truth, keys, cam, n_classes, background_weight, name):
    """(mIoU of one image at a background weight, counts along WEIGHTS, counts along THRESHOLDS)."""
    labels = keys[weighted_argmax(cam, background_weight)]
    miou = scores(label_confusion_matrix(truth, labels, n_classes, name), range(n_classes))["miou"]
    foreground = np.concatenate([np.zeros_like(cam[:1]), cam[1:]])  # an image without classes has no score
    labels, strongest = keys[foreground.argmax(axis=0)], foreground.max(axis=0)
    ratio = np.where(strongest > 0, strongest / np.maximum(cam[0], 1e-12), 0)
    return (
        miou,
        turn_counts(truth, labels, ratio, WEIGHTS, n_classes),
        turn_counts(truth, labels, strongest, THRESHOLDS, n_classes),
    )


def _evaluate(layout, folders, background_weight, image_id):
    truth, found = layout.mask(image_id), {}
    for key, folder in folders.items():
        path = folder / f"{image_id}.npz"
        if path.exists():
            keys, cam = load_cam(path, layout.n_classes, truth.shape)
            found[key] = image_counts(truth, keys, cam, layout.n_classes, background_weight, image_id)
    return image_id, found


def score_maps(layout, runs, ids, background_weight, workers):
    """Scores of exported maps: {(number of the run, kind of map): MapScores} of the images with a mask and a map.

    background_weight: of the images' own mIoU.
    """
    kinds = ((number, name, run.folder / name) for number, run in enumerate(runs) for name in MAP_NAMES)
    folders = {(number, name): folder for number, name, folder in kinds if folder.is_dir()}
    ids = [image_id for image_id in ids if layout.has_mask(image_id)]
    if not ids or not folders:
        return {}
    work = partial(_evaluate, layout, folders, background_weight)
    mious, totals = {key: {} for key in folders}, dict.fromkeys(folders, (0, 0))
    for image_id, results in parallel_map(work, ids, workers, "report: scores of the maps"):
        for key, (miou, *counts) in results.items():
            mious[key][image_id] = miou
            totals[key] = [total + part for total, part in zip(totals[key], counts)]
    return {
        key: MapScores({i: mious[key][i] for i in ids if i in mious[key]}, *map(miou_at_edges, totals[key]))
        for key in folders
        if mious[key]
    }
