"""Scores of a list's exported maps and label images against its masks."""

from functools import partial

from data.label_png import read_labels
from module.crf import dense_crf_label_maps
from module.labels import weighted_argmax
from tool.cam_file import load_cam
from tool.metric import label_confusion_matrix, scores
from tool.parallel import parallel_map


def evaluate_cam(layout, folder, weights, sweep, crf, image_id):
    """Confusion matrices of one image: {(weight, crf): [K,K+1]}."""
    truth = layout.mask(image_id)
    keys, cam = load_cam(folder / f"{image_id}.npz", layout.n_classes, truth.shape)
    found = {(weight, False): weighted_argmax(cam, weight) for weight in (*weights, *sweep)}
    if crf:
        image = layout.image(image_id).permute(1, 2, 0).numpy()
        refined = dense_crf_label_maps(image, [found[weight, False] for weight in weights], len(keys))
        found |= {(weight, True): labels for weight, labels in zip(weights, refined)}
    return {
        key: label_confusion_matrix(truth, keys[labels], layout.n_classes, image_id) for key, labels in found.items()
    }


def evaluate_map(layout, folder, ids, weights, sweep, crf, workers, stage):
    """Scores of a folder of maps: a list of {background_weight, crf, miou, accuracy, iou}.

    weights: of the background, each with dense CRF too if `crf` says so. sweep: more of them, without.
    """
    evaluate = partial(evaluate_cam, layout, folder, weights, sweep, crf)
    totals = total(evaluate, ids, workers, f"{stage}: {folder.name}")
    return [
        {"background_weight": weight, "crf": refined, **scores(matrix, layout.class_names)}
        for (weight, refined), matrix in sorted(totals.items(), key=lambda item: (item[0][1], item[0][0]))
    ]


def total(function, ids, workers, title):
    """The sum over images of a function of an ID that gives a dict of arrays."""
    sums = {}
    for found in parallel_map(function, ids, workers, title):
        for key, values in found.items():
            sums[key] = sums.get(key, 0) + values
    return sums


def evaluate_labels(layout, folder, image_id):
    """Confusion matrix [K,K+1] of one label image."""
    truth = layout.mask(image_id)
    labels = read_labels(folder / f"{image_id}.png", layout.n_classes, truth.shape)
    return label_confusion_matrix(truth, labels, layout.n_classes, image_id)


def evaluate_folder(layout, folder, ids, workers, stage):
    """Scores of label images, see `tool.metric.scores`."""
    matrices = parallel_map(partial(evaluate_labels, layout, folder), ids, workers, f"{stage}: {folder.name}")
    return scores(sum(matrices), layout.class_names)
