"""Other ways from a run's maps to pseudo labels by its IRN, against the masks, as CSV.

    python -m paper.walks RUN --list train

At several weights of the background: the map as exported; its walk, as make_seg_labels does it; the walk held back by
the boundaries of images that are enlarged; the walk from the map after dense CRF; and the walk held back by boundaries
for which one of the encoder's maps says nothing. Then the walk as it is with a threshold in place of the background's
own score, as IRN has it.
"""

from functools import cache, partial

import torch

from data.transforms import scaled
from infer.evaluate import total
from infer.pseudo import load_irn, mean_boundary, walked_scores
from module.crf import dense_crf_labels
from module.labels import weighted_argmax
from paper.bounds import WEIGHTS, print_tables, score_table
from tool.cam_file import load_cam
from tool.config import run_main
from tool.metric import label_confusion_matrix
from tool.settings import MakeSegLabels

ENLARGED = 1.5
CRF_WEIGHT = 1.4  # of the background, before dense CRF
THRESHOLDS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9)  # of the foreground's score, 1 where it is largest
MAPS = ("stem", "stage 1", "stage 2", "stage 3", "stage 4")  # of the encoder


@cache
def _irn(run):
    return load_irn(run, torch.device("cpu"))


def boundary_without(irn, image, number):
    """As `mean_boundary`, but the boundary head sees of one of the encoder's maps its mean over the image alone."""

    def level(projection, inputs, projected):
        return projected.mean(dim=(2, 3), keepdim=True).expand_as(projected)

    with irn.boundary.projections[number].register_forward_hook(level):
        return mean_boundary(irn, image)


def walks(layout, run, name, image_id):
    """{(title, weight or threshold): confusion matrix} of one image."""
    torch.set_num_threads(1)
    mask, image, irn, walk = layout.mask(image_id), layout.image(image_id), _irn(run), MakeSegLabels()
    keys, cam = load_cam(run / name / f"{image_id}.npz", layout.n_classes, mask.shape)
    refined = dense_crf_labels(image.permute(1, 2, 0).numpy(), weighted_argmax(cam, CRF_WEIGHT), len(keys))
    certain = torch.nn.functional.one_hot(torch.from_numpy(refined).long(), len(keys)).permute(2, 0, 1).float()
    boundary, start = mean_boundary(irn, image), torch.from_numpy(cam)
    enlarged = mean_boundary(irn, scaled(image, ENLARGED))
    walked = walked_scores(start, boundary, walk)
    maps = {
        "as exported": cam,
        "walk": walked,
        f"walk, boundary of the image x {ENLARGED:g}": walked_scores(start, enlarged, walk),
        f"walk from the map at x {CRF_WEIGHT:g} + CRF": walked_scores(certain, boundary, walk),
    }
    for number, part in enumerate(MAPS):
        maps[f"walk, boundary without {part}"] = walked_scores(start, boundary_without(irn, image, number), walk)
    found = {(title, weight): weighted_argmax(scores, weight) for title, scores in maps.items() for weight in WEIGHTS}
    foreground = walked / max(walked[1:].max(initial=0), 1e-5)
    for threshold in THRESHOLDS:
        foreground[0] = threshold
        found["walk, threshold", threshold] = foreground.argmax(0)
    return {
        key: label_confusion_matrix(mask, keys[labels], layout.n_classes, image_id) for key, labels in found.items()
    }


def tables(layout, run, ids, name, workers):
    """Of a run's maps of a name two tables, their rows of text, the header first."""
    walked = total(partial(walks, layout, run, name), ids, workers, "walks")
    for sign, values in (("x", WEIGHTS), (">", THRESHOLDS)):
        part = {key: matrix for key, matrix in walked.items() if key[0].endswith("threshold") == (sign == ">")}
        yield score_table(part, sign, values, layout.class_names)


if __name__ == "__main__":
    run_main(partial(print_tables, __doc__, tables))
