"""Other walks of a run's maps: each against the same thing said once more, and the command line."""

import csv
import io
import sys

import numpy as np
import pytest
import torch
from scripts import run

import paper.walks
from infer.pseudo import mean_boundary, walked_scores
from module.crf import dense_crf_labels
from paper.bounds import WEIGHTS, confusions
from paper.walks import THRESHOLDS, walks
from tool.cam_file import load_cam
from tool.metric import label_confusion_matrix
from tool.run import Run
from tool.settings import MakeSegLabels


@pytest.fixture
def case(finished):
    """Of one image with a class: (layout, run, ID, {(title, value): confusion matrix})."""
    layout, run = finished.layout, Run(finished.run)
    image_id = next(i for i in layout.ids("train") if layout.labels(i).any())
    return layout, run, image_id, walks(layout, run, "ae_is_cam", image_id)


def test_the_map_and_its_walk_are_those_of_the_stages(case):
    layout, run, image_id, found = case
    keys, cam = load_cam(run / f"ae_is_cam/{image_id}.npz")
    bounds = confusions(layout, run, "ae_is_cam", image_id)
    boundary = mean_boundary(paper.walks._irn(run), layout.image(image_id))
    walked = walked_scores(torch.from_numpy(cam), boundary, MakeSegLabels())
    for weight in WEIGHTS:
        assert (found["as exported", weight] == bounds["as exported", weight]).all()
        labels = keys[(walked * np.where(keys == 0, weight, 1)[:, None, None]).argmax(0)]
        expected = label_confusion_matrix(layout.mask(image_id), labels, layout.n_classes, image_id)
        assert (found["walk", weight] == expected).all()


def test_a_threshold_stands_in_for_the_background(case):
    layout, run, image_id, found = case
    keys, cam = load_cam(run / f"ae_is_cam/{image_id}.npz")
    boundary = mean_boundary(paper.walks._irn(run), layout.image(image_id))
    walked = walked_scores(torch.from_numpy(cam), boundary, MakeSegLabels())[1:]
    for threshold in THRESHOLDS:
        labels = np.where(walked.max(0) > threshold * walked.max(), keys[1:][walked.argmax(0)], 0)
        expected = label_confusion_matrix(layout.mask(image_id), labels, layout.n_classes, image_id)
        assert np.abs(found["walk, threshold", threshold] - expected).sum() <= 2  # a tie by rounding


def test_the_enlarged_boundary_is_finer_and_dense_crf_comes_before_the_walk(case, monkeypatch):
    layout, run, image_id, _ = case
    shapes, starts = [], []

    def seen(cam, boundary, settings):
        shapes.append(tuple(boundary.shape))
        starts.append(cam)
        return walked_scores(cam, boundary, settings)

    monkeypatch.setattr("paper.walks.walked_scores", seen)
    walks(layout, run, "ae_is_cam", image_id)
    height, width = layout.mask(image_id).shape
    fine = tuple(-(-round(1.5 * side) // 4) for side in (height, width))
    assert shapes == [(-(-height // 4), -(-width // 4)), fine, *[shapes[0]] * 6]
    keys, cam = load_cam(run / f"ae_is_cam/{image_id}.npz")
    weighted = (cam * np.where(keys == 0, 1.4, 1).astype(np.float32)[:, None, None]).argmax(0)
    labels = dense_crf_labels(layout.image(image_id).permute(1, 2, 0).numpy(), weighted, len(keys))
    assert (starts[2].argmax(0).numpy() == labels).all() and set(starts[2].unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("number", range(5))
def test_a_map_that_says_nothing_is_level_and_the_others_are_as_they_were(case, number):
    layout, run, image_id, _ = case
    irn, image = paper.walks._irn(run), layout.image(image_id)
    head, means = irn.boundary, []
    with torch.inference_mode():
        for view in (image, image.flip(2)):
            maps = irn.encoder(view[None] / 255)
            size, projected = maps[0].shape[2:], []
            for index, (projection, x) in enumerate(zip(head.projections, maps)):
                x = projection(x)
                factor = round(size[0] / x.shape[2])
                x = torch.nn.functional.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
                projected.append(x[..., : size[0], : size[1]])
                if index == number:
                    projected[-1] = projection(maps[index]).mean(dim=(2, 3), keepdim=True).expand_as(projected[-1])
            means.append(head.classifier(torch.cat(projected, dim=1).relu())[0, 0])
    expected = ((means[0] + means[1].flip(1)) / 2).sigmoid()
    found = paper.walks.boundary_without(irn, image, number)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert (found - mean_boundary(irn, image)).abs().max() > 1e-4  # and the hook is gone again


def test_the_tables_of_a_run(finished):
    done = run(sys.executable, "-m", "paper.walks", finished.run, "--list", "train", "--num_workers", 1)
    assert done.returncode == 0, done.stderr
    rows = list(csv.reader(io.StringIO(done.stdout)))
    assert [row[0] for row in rows] == [
        "mIoU, %",
        "as exported",
        "walk",
        "walk, boundary of the image x 1.5",
        "walk from the map at x 1.4 + CRF",
        *(f"walk, boundary without {name}" for name in ("stem", "stage 1", "stage 2", "stage 3", "stage 4")),
        "mIoU, %",
        "walk, threshold",
    ]
    assert all(0 < float(value) < 100 for row in (*rows[1:10], rows[11]) for value in row[1:])
    assert rows[10][1] == "> 0.4" and len(rows[11]) == 1 + len(THRESHOLDS)
