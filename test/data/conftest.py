"""A small data set without images, and pictures to put into it."""

import cv2
import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def root(tmp_path):
    (tmp_path / "JPEGImages").mkdir()
    (tmp_path / "SegmentationClass").mkdir()
    (tmp_path / "lists").mkdir()
    (tmp_path / "classes.txt").write_text("background\ncat\ndog\nsofa\n")
    (tmp_path / "image_labels.txt").write_text("a dog cat\nb sofa\nc\n")
    (tmp_path / "lists/train.txt").write_text("b\na\nc\n")
    return tmp_path


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def photo():
    """480x720, with blots of all sizes and an edge, and no symmetry."""
    rng = np.random.default_rng(1)
    noise = [
        cv2.resize(rng.uniform(-1, 1, (2 * n, 3 * n, 3)), (720, 480), interpolation=cv2.INTER_CUBIC) for n in (2, 8, 32)
    ]
    photo = 120 + 60 * noise[0] + 30 * noise[1] + 15 * noise[2]
    photo[300:, 450:] += 60
    return Image.fromarray(photo.clip(0, 255).astype(np.uint8))
