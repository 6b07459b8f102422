"""What limits the pseudo labels of a run: its maps, IR labels and walk against the masks, as CSV.

    python -m paper.bounds RUN --list train

Three maps at several weights of the background: as exported, after a walk that nothing holds back, and after one that
the masks' own edges hold back, the most that any boundary could give. Then the IR labels: of all pixels the share that
is confident, and of these the share that is right, for weights of the foreground and of the background.
"""

import argparse
import csv
import sys
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from conventions import IGNORE
from data.datasets import open_dataset
from infer.evaluate import total
from infer.pseudo import walked_scores
from module.crf import dense_crf_label_maps
from module.labels import ir_labels, weighted_argmax
from net.irn import STRIDE
from paper.plan import MAP
from tool.cam_file import load_cam
from tool.config import Parser, run_main
from tool.metric import label_confusion_matrix, scores
from tool.run import Run
from tool.settings import MakeSegLabels

WEIGHTS = (0.8, 1.0, 1.2, 1.4, 1.7, 2.0)
FOREGROUND, BACKGROUND = (1.0, 1.4, 1.8, 2.2, 3.0), (0.5, 0.8, 1.0)  # weights of the IR labels
BELOW_ONE = 0.999  # a boundary of 1 would leave its own pixels without any score


def true_boundary(mask):
    """The edges of a mask uint8 [H,W], with those of its unsure pixels, as a boundary [h,w] at stride 4."""
    edges = np.zeros(mask.shape, bool)
    edges[1:] |= mask[1:] != mask[:-1]
    edges[:, 1:] |= mask[:, 1:] != mask[:, :-1]
    return F.max_pool2d(torch.from_numpy(edges).float()[None, None], STRIDE, ceil_mode=True)[0, 0] * BELOW_ONE


def confusions(layout, run, name, image_id):
    """{(map, weight): confusion matrix} of one image."""
    torch.set_num_threads(1)
    mask = layout.mask(image_id)
    keys, cam = load_cam(run / name / f"{image_id}.npz", layout.n_classes, mask.shape)
    edges, walk = true_boundary(mask), MakeSegLabels()
    maps = {
        "as exported": cam,
        "walk, no boundary": walked_scores(torch.from_numpy(cam), torch.zeros_like(edges), walk),
        "walk, the masks' edges": walked_scores(torch.from_numpy(cam), edges, walk),
    }
    return {
        (title, weight): label_confusion_matrix(mask, keys[weighted_argmax(scored, weight)], layout.n_classes, image_id)
        for title, scored in maps.items()
        for weight in WEIGHTS
    }


def ir_counts(layout, run, name, image_id):
    """{(foreground weight, background weight): [pixels, confident foreground, right of it, background, right of it]}"""
    mask, image = layout.mask(image_id), layout.image(image_id).permute(1, 2, 0).numpy()
    keys, cam = load_cam(run / name / f"{image_id}.npz", layout.n_classes, mask.shape)
    weights = [*{*FOREGROUND, *BACKGROUND}]
    refined = dense_crf_label_maps(image, [weighted_argmax(cam, weight) for weight in weights], len(keys))
    labels = {weight: keys[found] for weight, found in zip(weights, refined)}
    counts, known = {}, mask != IGNORE
    for weights in product(FOREGROUND, BACKGROUND):
        label = ir_labels(*(labels[weight] for weight in weights))
        foreground, background = known & (label > 0) & (label != IGNORE), known & (label == 0)
        right = label == mask
        parts = known, foreground, foreground & right, background, background & right
        counts[weights] = np.array([part.sum() for part in parts])
    return counts


def score_table(confusions, sign, values, class_names):
    """A header and a row a title with the mIoU of each value, in percent. confusions: {(title, value): matrix}."""
    rows = [["mIoU, %", *(f"{sign} {value:g}" for value in values)]]
    for title in dict.fromkeys(title for title, _ in confusions):
        found = (100 * scores(confusions[title, value], class_names)["miou"] for value in values)
        rows.append([title, *(f"{miou:.1f}" for miou in found)])
    return rows


def walk_tables(layout, run, ids, name, workers):
    """What walks of a run's maps of a name could reach: a table, its rows of text, the header first."""
    walked = total(partial(confusions, layout, run, name), ids, workers, "walks")
    yield score_table(walked, "x", WEIGHTS, layout.class_names)


def ir_tables(layout, run, ids, name, workers):
    """How much of the IR labels from a run's maps of a name is confident and right, in the same form."""
    titles = "confident", "foreground", "right of foreground", "background", "right of background"
    rows = [["IR labels, % of pixels", *titles]]
    for weights, counts in total(partial(ir_counts, layout, run, name), ids, workers, "IR labels").items():
        known, foreground, right, background, right_background = counts.tolist()
        shares = (foreground + background, known), (foreground, known), (right, foreground), (background, known)
        shares = (*shares, (right_background, background))
        title = "foreground x {:g}, background x {:g}".format(*weights)
        rows.append([title, *(f"{100 * part / max(1, whole):.0f}" for part, whole in shares)])
    yield rows


def print_tables(description, *measures):
    """The command line of measures: prints their tables of the run that is named, each as it is finished."""
    parser = Parser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", metavar="RUN", help="folder of a run with its maps")
    parser.add_argument("--list", default="train", help="lists/NAME.txt of the dataset (default: %(default)s)")
    parser.add_argument("--map", default=MAP, help="which of make_cam.py's exports (default: %(default)s)")
    parser.add_argument("--num_workers", type=int, default=2, help="processes (default: %(default)s)")
    args = parser.parse_args()
    run = Run(Path(args.run))
    layout = open_dataset(run.used_settings("make_cam"))
    for measure in measures:
        for rows in measure(layout, run, layout.ids(args.list), args.map, args.num_workers):
            csv.writer(sys.stdout, lineterminator="\n").writerows(rows)


if __name__ == "__main__":
    run_main(partial(print_tables, __doc__, walk_tables, ir_tables))
