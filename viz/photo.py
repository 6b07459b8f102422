"""What networks say of a photograph, as files: palette PNGs, overlays and heat maps."""

from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from conventions import BACKGROUND
from data.image import save_jpeg
from data.label_png import save_label_png
from module.labels import labels_at_size, weighted_argmax
from viz.pictures import heat, in_grid, overlay

ENDINGS = (".png", "_overlay.jpg", "_heat.jpg")
LONGEST_NAME = 40  # letters in a legend
FONT = Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"  # Latin, Greek and Cyrillic: a system need not


def drawn(output, image, keys, class_names, palette):
    """(picture of the labels, [picture of the map of each class]) of one `infer.photo.Output`, each with a legend.

    image: uint8 [h,w,3], as the network saw it. keys: [k]. palette: a `viz.palette.Palette`. Pictures: uint8 [H,W,3],
    one map for each key but the background's; none of a segmentation.
    """
    labels, colours = keys[weighted_argmax(output.scores, output.background_weight)], palette.colours
    shown = np.setdiff1d(labels, BACKGROUND)
    names = [class_names[k] for k in shown]
    pairs = [] if output.heat is None else list(zip(keys, output.heat))[1:]
    maps = [with_legend(heat(image, cam, palette.heat), [class_names[k]], colours[[k]]) for k, cam in pairs]
    return with_legend(overlay(image, labels, colours), names, colours[shown]), maps


def write_outputs(start, image, size, keys, outputs, class_names, palette):
    """Write START_KIND.png of `size`, and START_KIND_overlay.jpg and for maps START_KIND_heat.jpg of the image's.

    image, keys, palette: see `drawn`. outputs: {kind: `infer.photo.Output`}. Returns the files' names.
    """
    written = []
    for kind, output in outputs.items():
        paths = [start.with_name(f"{start.name}_{kind}{ending}") for ending in ENDINGS]
        labels = labels_at_size(output.scores, size, output.background_weight)
        save_label_png(paths[0], keys.astype(np.uint8)[labels])
        shown, maps = drawn(output, image, keys, class_names, palette)
        _save_jpeg(paths[1], shown)
        if maps:
            _save_jpeg(paths[2], in_grid(maps, columns=4))
        else:
            paths.pop()
        written += [path.name for path in paths]
    return written


def with_legend(picture, names, colours):
    """The picture uint8 [H,W,3] above a line for each name, with a box of its colour, uint8 [3]; no narrower than they.

    Returns uint8 [H',W',3].
    """
    size = int(np.clip(max(picture.shape[:2]) / 36, 11, 32))
    font, line, names = ImageFont.truetype(FONT, size), round(1.6 * size), [name[:LONGEST_NAME] for name in names]
    (height, width), needed = picture.shape[:2], [round(font.getlength(name)) + 3 * size for name in names]
    more = 0, 0, max([width, *needed]) - width, line * len(names)  # left, above, right, below
    sheet = ImageOps.expand(Image.fromarray(picture), more, "white")
    draw = ImageDraw.Draw(sheet)
    for y, name, colour in zip(range(height, sheet.height, line), names, colours):
        draw.rectangle((size // 2, y + size // 3, 3 * size // 2, y + 4 * size // 3), tuple(map(int, colour)))
        draw.text((2 * size, y + line // 2), name, "black", font, anchor="lm")
    return np.asarray(sheet)


def _save_jpeg(path, picture):
    save_jpeg(path, Image.fromarray(picture), quality=92)
