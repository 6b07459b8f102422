"""Counts of images and times of every stage."""

from types import SimpleNamespace

import pytest
import torch

from paper.cost import count_images, sample_image, seconds_an_image
from paper.plan import STAGES, make_jobs
from paper.tables import TABLES

SMALL = (
    "train_aesipe.crop_size=64",
    "train_irn.crop_size=96",
    "train_irn.radius=5",
    "deeplab_train.crop_size=64",
    "make_cam.scales=[0.5]",
    "deeplab_test.scales=[0.5]",
    "make_seg_labels.steps=8",
    "common.num_workers=2",
)


@pytest.fixture
def job(tmp_path):
    jobs, _ = make_jobs(
        [TABLES[1]], "configs/demo.yaml", [*SMALL, f"common.dataset_root={tmp_path}", f"common.run_root={tmp_path}"], 1
    )
    return jobs[1]


def test_counts_of_a_dataset_that_is_not_there_are_vocs(job):
    assert count_images("train_aesipe", job.arguments("train_aesipe")) == 10 * (10_582 // 16) * 16
    assert count_images("deeplab_train", job.arguments("deeplab_train")) == 150 * 16
    assert count_images("eval_cam", job.arguments("eval_cam")) == 1464
    assert count_images("deeplab_test", job.arguments("deeplab_test")) == 1449


def test_every_stage_can_be_timed(job):
    assert job.stages == STAGES
    for stage in job.stages:
        assert 0 < seconds_an_image(stage, job.arguments, torch.device("cpu")) < 60


def test_the_made_up_image_is_an_image(tmp_path):
    image = sample_image(SimpleNamespace(dataset_root=str(tmp_path), list="train"))
    assert image.shape == (3, 375, 500) and image.dtype == torch.uint8 and image.float().std() > 10
