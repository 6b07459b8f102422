"""A toy set in VOC layout, drawn from a seed: the failure that weak supervision meets, without a download.

Every object is a plain body with a patterned head. The pattern tells the class, by its geometry and the colour of
its ink; the body's colour is drawn from one pool for all classes. So a classifier's CAM lights up on the head and
misses the body, while the body is smooth and stands out from a cluttered background: affinity can reach it.
"""

import json
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import ImageColor

from data.label_png import save_label_png
from data.layout import save_texts
from errors import UserError
from files import atomic, save_lines
from progress import progress_bar

ASPECTS = ((1, 0.8), (0.8, 1), (1, 0.9), (0.9, 1), (1, 1), (1, 0.75), (0.75, 1))  # height, width over the long side


def _colours(codes):
    """Hexadecimal codes between spaces as RGB, float32 [N,3] in 0-255."""
    return np.array([ImageColor.getrgb(code) for code in codes.split()], np.float32)


BACKGROUND_COLOURS = _colours("#768260 #927e64 #687480 #a09c8c #54644c #7e6c70 #b0a478 #5c5a56")
BODY_COLOURS = _colours("#e4d0b2 #3a3230 #d09870 #7a4e3a #eeeee8 #424e62 #bccce0 #ac80a0 #d8be7e #58808c")
CLEAR_DISTANCE = 75  # in RGB units: a body this far from both background colours stands out
INK_DISTANCE = 120  # in RGB units, from the body to the ink on it
DRAWING = 2  # counts the ways of drawing so far: a set drawn in another way is not taken for this one
MIN_SIZE = 64  # px: heads of smaller images are too small for a pattern

# Class name -> pattern: from the head's coordinates, in periods, to ink where positive.
PATTERNS = {
    "striped": lambda u, v: np.sin(2 * np.pi * u),
    "dotted": lambda u, v: np.cos(2 * np.pi * u / 1.5) + np.cos(2 * np.pi * v / 1.5) - 0.6,
    "checked": lambda u, v: 1.5 * np.sin(np.pi * u / 0.9) * np.sin(np.pi * v / 0.9),
    "ringed": lambda u, v: np.sin(2 * np.pi * np.hypot(u, v)),
    # Slopes of 45 degrees bring the lines closer together: 0.75 restores about one period.
    "zigzag": lambda u, v: np.sin(1.5 * np.pi * (u + 2 * np.abs((v / 2) % 1 - 0.5))),
}
# Class name -> RGB of its ink: a help, since a ResNet-18 from scratch on 400 images needs far longer than a demo to
# tell patterns by their geometry alone.
INKS = dict(zip(PATTERNS, _colours("#be1e1e #1e8232 #1e32be #f0c81e #be28b4")))
CLASSES = ("background", *PATTERNS)


class Shape(NamedTuple):
    """One object's geometry; all arrays are [H,W]."""

    label: int
    distance: np.ndarray  # px to the object's outline, negative inside
    head_distance: np.ndarray  # px to the head's outline, negative inside
    u: np.ndarray  # px from the head's centre, along the object
    v: np.ndarray  # px from the head's centre, across the object


def _value_noise(rng, height, width, cell):
    """Smooth noise in about [-1,1], float32 [height,width], whose blobs measure about `cell` px."""
    rows, cols = int(np.ceil(height / cell)) + 1, int(np.ceil(width / cell)) + 1
    grid = rng.uniform(-1, 1, (rows, cols)).astype(np.float32)
    return cv2.resize(grid, (round(cols * cell), round(rows * cell)), interpolation=cv2.INTER_CUBIC)[:height, :width]


def _draw_background(rng, height, width, unit):
    """A cluttered background, float32 [height,width,3] in about 0-255, and its two main colours [2,3]."""
    colours = rng.permutation(BACKGROUND_COLOURS)
    mix = _value_noise(rng, height, width, 60 * unit) + 0.5 * _value_noise(rng, height, width, 18 * unit)
    image = colours[0] + (colours[1] - colours[0]) * np.clip(0.5 + 0.6 * mix, 0, 1)[..., None]
    for _ in range(rng.integers(3, 7)):
        image += _distractor(rng, height, width, unit)[..., None]
    for _ in range(rng.integers(25, 50)):
        colour = (colours[rng.integers(len(colours))] + rng.uniform(-45, 45)).tolist()
        centre = rng.integers((width, height))
        kind = rng.choice(("line", "speck", "patch"), p=(0.4, 0.4, 0.2))
        if kind == "line":
            end = centre + (rng.uniform(-16, 16, 2) * unit).astype(int)
            cv2.line(image, centre.tolist(), end.tolist(), colour, 1)
        else:
            axes = np.maximum(1, rng.uniform(*((0.5, 2) if kind == "speck" else (3, 9)), 2) * unit).astype(int)
            cv2.ellipse(image, centre.tolist(), axes.tolist(), rng.uniform(0, 180), 0, 360, colour, -1)
    grain = 9 * _value_noise(rng, height, width, 2.5)
    return image + grain[..., None], colours[:2]


def _distractor(rng, height, width, unit):
    """A faint patch of texture that belongs to no class: warped waves or speckle, float32 [height,width]."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    radius = rng.uniform(10, 26) * unit
    distance = np.hypot(x - rng.uniform(0, width), y - rng.uniform(0, height))
    patch = distance + 5 * unit * _value_noise(rng, height, width, 12 * unit) < radius
    if rng.random() < 0.5:
        angle, period = rng.uniform(0, np.pi), rng.uniform(7, 12) * unit
        warp = 3 * _value_noise(rng, height, width, 14 * unit)
        texture = np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / period + warp)
    else:
        texture = 1.5 * _value_noise(rng, height, width, 4 * unit)
    return rng.uniform(10, 20) * texture * patch


def _draw_shape(rng, height, width, unit):
    """A Shape of a random class, size, place and rotation, its head wholly inside the image."""
    a = rng.uniform(0.17, 0.3) * 160 * unit  # half the body's length; the head adds to it
    b = a * rng.uniform(0.6, 0.95)
    power = rng.uniform(1.8, 3.5)  # from an ellipse to a rounded box
    waves = list(zip((2, 3, 4), rng.uniform(0, 0.07, 3).tolist(), rng.uniform(0, 2 * np.pi, 3).tolist()))

    def radius(theta):
        base = (np.abs(np.cos(theta) / a) ** power + np.abs(np.sin(theta) / b) ** power) ** (-1 / power)
        return base * (1 + sum(amplitude * np.cos(k * theta + phase) for k, amplitude, phase in waves))

    head_radius = max(14 * unit, (rng.uniform(0.28, 0.4) * a * b) ** 0.5)
    reach = float(radius(0.0)) + 0.3 * head_radius  # from the body's centre to the head's
    angle = rng.uniform(0, 2 * np.pi)
    cos, sin = float(np.cos(angle)), float(np.sin(angle))
    x_head = float(np.clip(rng.uniform(0.15, 0.85) * width + reach * cos, head_radius, width - 1 - head_radius))
    y_head = float(np.clip(rng.uniform(0.15, 0.85) * height + reach * sin, head_radius, height - 1 - head_radius))
    y, x = np.mgrid[:height, :width].astype(np.float32)
    u = (x - x_head) * cos + (y - y_head) * sin
    v = (y - y_head) * cos - (x - x_head) * sin
    head_distance = np.hypot(u, v) - head_radius
    distance = np.hypot(u + reach, v) - radius(np.arctan2(v, u + reach))
    return Shape(int(rng.integers(1, len(CLASSES))), np.minimum(distance, head_distance), head_distance, u, v)


def _place_shapes(rng, height, width, unit):
    """One to three Shapes, later ones in front; every one shows most of its head and half of itself."""
    wanted = rng.choice((1, 2, 3), p=(0.6, 0.3, 0.1))
    shapes = []
    for _ in range(30):
        candidate = [*shapes, _draw_shape(rng, height, width, unit)]
        if _all_visible(candidate):
            shapes = candidate
        if len(shapes) == wanted:
            break
    return shapes


def _all_visible(shapes):
    covered = np.zeros(shapes[0].distance.shape, bool)
    for shape in reversed(shapes):
        whole, head = shape.distance < 0, shape.head_distance < 0
        if (whole & ~covered).sum() < 0.5 * whole.sum() or (head & ~covered).sum() < 0.8 * head.sum():
            return False
        covered |= whole
    return True


def _paint(rng, image, shape, body, unit):
    """Return image with the shape in front: a smooth shaded body in colour `body`, ink on it over the head."""
    # The head's ground is the body's colour, so that colour links the two, as on an animal's coat.
    name = CLASSES[shape.label]
    ink = INKS[name] + rng.uniform(-30, 30, 3).astype(np.float32)
    period = max(4, rng.uniform(7, 10) * unit)
    pattern = PATTERNS[name](shape.u / period, shape.v / period)
    coverage = np.clip(0.5 + 1.5 * pattern, 0, 1) * np.clip(0.5 - shape.head_distance, 0, 1)
    colour = body + (ink - body) * coverage[..., None]
    light = 1 + 0.10 * _value_noise(rng, *shape.distance.shape, 50 * unit)
    alpha = np.clip(0.5 - shape.distance, 0, 1)[..., None]
    return image + alpha * (colour * light[..., None] - image)


def draw_toy_image(rng, height, width):
    """Draw one image with its exact mask.

    rng: numpy Generator. height, width: px; lengths of objects, patterns and clutter follow the longer one.
    Returns image uint8 [height,width,3] RGB and labels uint8 [height,width], indices of CLASSES.
    """
    unit = max(height, width) / 160  # the drawing is laid out for a long side of 160 px
    image, ground = _draw_background(rng, height, width, unit)
    shapes = _place_shapes(rng, height, width, unit)
    bodies = rng.permutation(BODY_COLOURS)
    nearest = np.linalg.norm(bodies[:, None] - ground, axis=2).min(axis=1)
    bodies = list(bodies[np.argsort(nearest < CLEAR_DISTANCE, kind="stable")])
    labels = np.zeros((height, width), np.uint8)
    for shape in shapes:
        ink = INKS[CLASSES[shape.label]]
        body = bodies.pop(next(i for i, each in enumerate(bodies) if np.linalg.norm(each - ink) > INK_DISTANCE))
        image = _paint(rng, image, shape, body + rng.uniform(-12, 12, 3).astype(np.float32), unit)
        labels[shape.distance < 0] = shape.label
    image = image * rng.uniform(0.85, 1.12) + 3 * rng.standard_normal(image.shape, np.float32)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8), labels


def _write_split(folder, split, count, size, seed):
    """Write `count` images with masks under folder; return {ID: names of its classes}."""
    shown = {}
    for index in progress_bar(f"dataset: drawing {split}", range(count)):
        # One stream an image: an image does not depend on how many others are drawn.
        rng = np.random.default_rng((seed, split == "val", index))
        height, width = (round(side * size) for side in ASPECTS[rng.integers(len(ASPECTS))])
        image, labels = draw_toy_image(rng, height, width)
        name = f"{split}_{index:06d}"
        jpeg = folder / "JPEGImages" / f"{name}.jpg"
        if not cv2.imwrite(str(jpeg), cv2.cvtColor(image, cv2.COLOR_RGB2BGR), (cv2.IMWRITE_JPEG_QUALITY, 92)):
            raise OSError(f"cannot write {jpeg}")
        save_label_png(folder / "SegmentationClassAug" / f"{name}.png", labels)
        shown[name] = [CLASSES[k] for k in np.unique(labels) if k]
    return shown


def _check_same_set(root, settings):
    """Raises UserError unless root holds the toy set of these settings, a line of JSON."""
    try:
        found = (root / "toy.json").read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{root / 'toy.json'}: is missing or no text: {root} exists and is not a toy set") from error
    if found != settings:
        raise UserError(
            f"{root / 'toy.json'}: is of a toy set of other settings: {found[:200]!r}, not {settings}: remove {root}, "
            "or name another --dataset_root"
        )


def make_toy(root, train=200, train_aug=400, val=100, size=160, seed=0):
    """Write a toy set in VOC layout: images, exact masks, lists, image_labels.txt, classes.txt and toy.json.

    root: folder to make; it appears at once and whole. train, train_aug, val: images in each list; `train` is the
    start of `train_aug`. size: long side in px. seed: the same seed gives the same files.
    A root that holds this set already is left as it is. Raises UserError for settings out of range, or if root holds a
    set of other settings or something else.
    """
    if not 1 <= train <= train_aug or val < 1 or size < MIN_SIZE or seed < 0:
        raise UserError(
            f"need 1 <= train <= train_aug, val >= 1, size >= {MIN_SIZE} and seed >= 0, got {train}, {train_aug}, "
            f"{val}, {size} and {seed}"
        )
    numbers = {"train": train, "train_aug": train_aug, "val": val, "size": size, "seed": seed, "drawing": DRAWING}
    settings = json.dumps(numbers)
    root = Path(root).resolve()
    if root.exists():
        _check_same_set(root, settings)
        return
    with atomic(root) as part:
        (part / "JPEGImages").mkdir(parents=True)
        labels = _write_split(part, "train", train_aug, size, seed)
        val_labels = _write_split(part, "val", val, size, seed)
        lists = {"train": [*labels][:train], "train_aug": [*labels], "val": [*val_labels]}
        save_texts(part, CLASSES, lists, labels | val_labels)
        save_lines(part / "toy.json", [settings])
