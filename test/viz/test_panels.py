import numpy as np
import pytest

from data.label_png import voc_palette
from viz.panels import colour_labels, colour_scores, over_image, side_by_side

PALETTE = voc_palette()
IMAGE = np.random.default_rng(0).integers(0, 255, (6, 8, 3), dtype=np.uint8)


def picture(scores, background=0.0, weight=1.0):
    """Of one or more foreground maps [k-1,H,W], classes 3, 4, ..."""
    cam = np.concatenate([np.full((1, *IMAGE.shape[:2]), background, np.float32), scores])
    return colour_scores(IMAGE, np.array([0, *range(3, 3 + len(scores))]), cam.astype(np.float32), PALETTE, weight)


def test_no_score_shows_the_grey_image_and_full_score_the_class():
    grey = IMAGE.mean(axis=2).astype(np.uint8)
    np.testing.assert_array_equal(picture(np.zeros((1, 6, 8)), 1.0), np.repeat(grey[..., None], 3, axis=2))
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
    expected[1:, 4] = outlined
    np.testing.assert_array_equal(white, expected)


def test_labels_take_the_palettes_colours():
    labels = np.array([[0, 3], [255, 20]])
    np.testing.assert_array_equal(colour_labels(labels, PALETTE), PALETTE[labels])
    assert colour_labels(None, PALETTE) is None


def test_a_row_of_pictures_has_gaps_and_at_most_the_width():
    row = side_by_side([IMAGE, IMAGE, IMAGE], width=100)
    assert row.shape == (6, 3 * 8 + 2 * 4, 3)
    np.testing.assert_array_equal(row[:, :8], IMAGE)
    assert (row[:, 8:12] == 255).all()
    np.testing.assert_array_equal(row[:, 24:], IMAGE)
    assert side_by_side([IMAGE, IMAGE, IMAGE], width=16).shape == (3, 16, 3)


def test_seeds_are_blocks_of_their_colour_and_the_rest_is_grey():
    image = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    picture = over_image(image, np.array([[0, 2, 255]]), voc_palette(), strength=1)
    assert (picture[:, 2:4] == voc_palette()[2]).all()
    for columns in (slice(0, 2), slice(4, 6)):
        grey = image[:, columns].mean(axis=2).astype(np.uint8)
        assert (picture[:, columns] == grey[..., None]).all()
