import base64
import io

import numpy as np
import pytest
from PIL import Image

from viz.pictures import PALETTE, colour_scores, data_uri, greyed, in_grid, nearest, outlines, overlay, thumbnail

IMAGE = np.random.default_rng(0).integers(0, 255, (6, 8, 3), dtype=np.uint8)


def picture(scores, background=0.0, weight=1.0):
    """Of one or more foreground maps [k-1,H,W], classes 3, 4, ..."""
    cam = np.concatenate([np.full((1, *IMAGE.shape[:2]), background, np.float32), scores])
    return colour_scores(IMAGE, np.array([0, *range(3, 3 + len(scores))]), cam.astype(np.float32), weight)


def test_no_score_shows_the_grey_image_and_full_score_the_class():
    grey = picture(np.zeros((1, 6, 8)), 1.0)
    np.testing.assert_array_equal(grey, greyed(IMAGE))
    assert (grey == grey[..., :1]).all() and np.abs(grey.mean() - IMAGE.mean()) < 10
    assert (picture(np.ones((1, 6, 8))) == PALETTE[3]).all()
    assert picture(np.zeros((0, 6, 8)), 1.0).shape == IMAGE.shape  # an image with no class


def test_classes_that_overlap_share_a_pixel():
    both = picture(np.ones((2, 6, 8)))
    np.testing.assert_allclose(both[0, 0], (PALETTE[3].astype(float) + PALETTE[4]) / 2, atol=1)


@pytest.mark.parametrize("weight, outlined", [(1.0, False), (0.5, True)])
def test_the_outline_is_that_of_the_labels(weight, outlined):
    scores = np.zeros((1, 6, 8))
    scores[0, :, 4:] = 0.5
    white = (picture(scores, background=0.8, weight=weight) == 255).all(axis=2)
    expected = np.zeros((6, 8), bool)
    expected[:, 3:5] = outlined
    np.testing.assert_array_equal(white, expected)


def test_overlays_blend_classes_and_leave_the_background():
    image = np.full((20, 30, 3), 100, np.uint8)
    labels = np.zeros((20, 30), np.int64)
    labels[5:15, 10:20] = 2
    labels[0, 0] = 255
    picture = overlay(image, labels)
    assert (picture[0, 0] == 100).all() and (picture[9, 14] == [50, 114, 50]).all() and (picture[5, 10] == 255).all()
    assert outlines(labels == 2).sum() == 2 * 4 * 10 - 4 and not outlines(np.zeros((3, 3))).any()


def test_seeds_are_blocks_of_the_colours_that_are_given():
    colours = np.array([[0, 0, 0], [200, 0, 100]], np.uint8)
    picture = overlay(np.zeros((8, 12, 3), np.uint8), np.array([[0, 1, 255]]), colours)
    assert (picture[:, 5:7] == [100, 0, 50]).all() and (picture[:, [3, 4, 7, 8]] == 255).all()
    assert not picture[:, [0, 1, 2, 9, 10, 11]].any()


def test_nearest_takes_the_floor():
    truth = np.arange(16).reshape(4, 4)
    assert nearest(truth, (2, 2)).tolist() == [[0, 2], [8, 10]] and nearest(truth, (4, 4)).tolist() == truth.tolist()


def test_pictures_of_any_size_stand_in_a_grid():
    sheet = in_grid([IMAGE, IMAGE[:2, :3], IMAGE], columns=2)
    assert sheet.shape == (4 + 2 * (6 + 4), 4 + 2 * (8 + 4), 3)
    np.testing.assert_array_equal(sheet[4:10, 4:12], IMAGE)
    np.testing.assert_array_equal(sheet[4:6, 16:19], IMAGE[:2, :3])
    assert (sheet[6:10, 16:] == 255).all() and (sheet[10:14] == 255).all()
    np.testing.assert_array_equal(sheet[14:20, 4:12], IMAGE)


def opened(uri, kind):
    start, data = uri.split(",")
    assert start == f"data:image/{kind};base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_labels_keep_their_values_at_a_smaller_size():
    labels = np.zeros((330, 440), np.int64)
    labels[:165], labels[:, 220:] = 15, 255
    image = opened(data_uri(thumbnail(labels)), "png")
    values = np.array(image)
    assert image.mode == "P" and values.shape == (165, 220) and set(np.unique(values)) == {0, 15, 255}
    assert values[10, 10] == 15 and values[110, 10] == 0 and values[10, 165] == 255
    assert thumbnail(labels[:3, :2]).shape == (3, 2)  # never larger


def test_pictures_are_thumbnails():
    picture = np.full((500, 250, 3), 100, np.uint8)
    assert thumbnail(picture).shape == (220, 110, 3) and thumbnail(picture[:9, :9]).shape == (9, 9, 3)
    assert np.abs(np.asarray(opened(data_uri(thumbnail(picture)), "jpeg"), int) - 100).max() <= 2
