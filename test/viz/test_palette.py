"""Colours that colour-blind people tell apart."""

import re

import numpy as np
import pytest
from scripts import REPOSITORY

from data.label_png import voc_palette
from viz.curves import COLOURS
from viz.palette import as_seen, palette


def least_difference(colours):
    """Of two colours, to the eyes that tell them apart least; in Lab, where some 2 are just seen."""
    seen = as_seen(colours)
    differences = np.linalg.norm(seen[:, :, None] - seen[:, None], axis=3).min(axis=0)
    return differences[~np.eye(len(colours), dtype=bool)].min()


@pytest.mark.parametrize("count", [6, 21, 41, 81])
def test_the_safe_colours_of_any_two_classes_look_different_to_everyone(count):
    safe, voc = (least_difference(palette(name).colours[:count]) for name in ("safe", "voc"))
    assert safe > max(6, 3 * voc)


def test_the_colours_of_curves_look_different_to_everyone_on_light_and_on_dark():
    paper = re.findall(r"--paper: (#\w{6})", (REPOSITORY / "viz/style.css").read_text())
    codes = np.array([[int(code[i : i + 2], 16) for i in (1, 3, 5)] for code in (*COLOURS, *paper)], np.uint8)
    assert len(paper) == 2 and least_difference(codes) > 15


def test_every_class_has_a_colour_of_its_own():
    colours = palette("safe").colours
    assert colours.shape == (256, 3) and colours.dtype == np.uint8 and len(np.unique(colours, axis=0)) == 256
    assert (colours[[0, 255]] == voc_palette()[[0, 255]]).all()  # background and ignored pixels
    np.testing.assert_array_equal(palette("voc").colours, voc_palette())


def test_red_and_green_look_alike_without_the_cones_for_green():
    """White stays white, and what differs for usual eyes may not differ for others."""
    white, red, green = np.swapaxes(as_seen(np.array([[255, 255, 255], [200, 80, 0], [120, 120, 0]], np.uint8)), 0, 1)
    assert np.allclose(white, [100, 0, 0], atol=0.5)
    usual, _, deutan, _ = np.linalg.norm(red - green, axis=1)
    assert usual > 30 and deutan < usual / 3
