"""Confusion matrices and mIoU."""

import numpy as np

from conventions import IGNORE
from errors import UserError


def label_confusion_matrix(truth, labels, n_classes, name="labels"):
    """Confusion matrix of one image; the matrix of a data set is the sum over its images.

    truth, labels: integer [H,W] in 0..K-1 or IGNORE: not counted in the truth, unsure in labels. name: for messages.
    Returns int64 [K,K+1], rows truth, columns labels, the last column unsure. Raises UserError on sizes that differ
    and on values out of range.
    """
    if truth.shape != labels.shape:
        raise UserError(f"{name}: labels are {list(labels.shape)}, the mask is {list(truth.shape)}")
    known = truth != IGNORE
    rows, columns = truth[known].astype(np.int64), labels[known].astype(np.int64)
    for what, values in (("mask", rows), ("labels", columns)):
        wrong = values[(values < 0) | (values >= n_classes) & (values != IGNORE)]
        if wrong.size:
            raise UserError(f"{name}: {what} holds {wrong[0]}, but there are {n_classes} classes")
    columns[columns == IGNORE] = n_classes
    pairs = rows * (n_classes + 1) + columns
    return np.bincount(pairs, minlength=n_classes * (n_classes + 1)).reshape(n_classes, n_classes + 1)


def scores(matrix, class_names):
    """Scores of a confusion matrix [K,K+1]; unsure pixels count as missed.

    Returns a dict of plain values: miou in [0,1], the mean over the classes that occur in the truth; accuracy over
    pixels; iou, by class name, None for a class that does not occur in the truth; and confusion, the matrix itself in
    pixels, rows and columns as in `label_confusion_matrix`.
    """
    matrix = np.asarray(matrix, np.int64)
    correct = np.diag(matrix).astype(np.float64)
    truth = matrix.sum(axis=1)
    union = truth + matrix[:, : len(matrix)].sum(axis=0) - correct
    iou = correct / np.maximum(union, 1)
    occurs = truth > 0
    return {
        "miou": float(iou[occurs].mean()) if occurs.any() else 0.0,
        "accuracy": float(correct.sum() / max(matrix.sum(), 1)),
        "iou": {name: float(value) if there else None for name, value, there in zip(class_names, iou, occurs)},
        "confusion": matrix.tolist(),
    }
