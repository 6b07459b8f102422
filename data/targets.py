"""What a network is trained on: label images of an earlier stage, or the data set's own masks, full supervision."""

from data.label_png import read_labels
from data.usable import check_image, check_labels, check_mask

TRUTH = "truth"  # as the setting `labels`


def needs(labels):
    """What training on `labels`, a folder of the run or TRUTH, reads: (checks of `data.usable`, inputs of
    `data.content`, sources in the run)."""
    if labels == TRUTH:
        return (check_image, check_mask), ("images", "masks"), ()
    return (check_image, check_labels), ("labels", "images"), (labels,)


def read_target(labels, layout, run, image_id):
    """The uint8 label image [H,W] of an image."""
    if labels == TRUTH:
        return layout.mask(image_id)
    return read_labels(run / labels / f"{image_id}.png", layout.n_classes, layout.size(image_id))
