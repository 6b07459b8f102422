"""Figures 1 and 3 of the paper for any image, and the strip of all stages, as PNG files.

Figure 1 is the method's flow for one image, from the network at scale 1: image, CAM, seeds of the structure analysis,
the IS-CAM of their prototypes, that IS-CAM after PAMR, the new seeds taken from it, the AE-IS-CAM of the new
prototypes, and the labels that it gives. A network without AE ends with its IS-CAM, normalised, and labels.

Figure 3 compares: a row an image, with the image, the last map of each baseline run, this run's IS-CAM and AE-IS-CAM
and the truth. Exported maps are shown where the run has them, else the network's at scale 1.

White lines are the outlines of the labels that a map gives.
"""

import warnings

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import torch

from data.label_png import read_labels
from files import atomic
from module.affinity import pamr_refine
from module.labels import weighted_argmax
from tool.cam_file import load_cam
from tool.run import Run as RunFolder
from viz.gallery import map_path
from viz.network import enlarged, localize, seed_labels, takes_new_seeds
from viz.panels import colour_labels, colour_scores, over_image
from viz.runs import MAP_NAMES

STRIP = ("image", *MAP_NAMES.values(), "pseudo label", "prediction", "truth")


def figure1(layout, model, image_id, palette, background_weight):
    """The [(title, uint8 [H,W,3])] of figure 1."""
    pixels = layout.image(image_id)
    image = pixels.permute(1, 2, 0).numpy()
    maps = localize(model, pixels, layout.labels(image_id))
    keys = maps["keys"].numpy()

    def scores(cam):
        return colour_scores(image, keys, enlarged(cam, image.shape[:2]), palette, background_weight)

    def seeds(name):
        return over_image(image, seed_labels(maps["keys"], maps[name]), palette)

    steps = [
        ("image", image),
        ("CAM", scores(maps["cam"])),
        ("seeds by structure", seeds("seeds")),
        ("IS-CAM", scores(maps["is_cam"])),
    ]
    if takes_new_seeds(model):
        refined = _refined(model, maps["is_cam"], pixels)
        steps += [
            ("IS-CAM after PAMR", scores(refined)),
            ("new seeds", seeds("ae_seeds")),
            ("AE-IS-CAM", scores(maps["ae_is_cam"])),
        ]
    labels = keys[weighted_argmax(enlarged(maps["ae_is_cam"], image.shape[:2]), background_weight)]
    return [*steps, ("labels", palette[labels])]


def _refined(model, is_cam, pixels):
    """PAMR's map [k,h,w] of an IS-CAM, all of whose classes the image has."""
    device = next(model.parameters()).device
    is_cam, image = is_cam[None].to(device), pixels[None].to(device).float() / 255
    return pamr_refine(is_cam, image, torch.ones_like(is_cam), model.pamr)[0].cpu()


def figure3(layout, runs, models, image_id, palette, background_weight):
    """The {title: uint8 [H,W,3]} of a row of figure 3.

    runs: the judged Run, then its baselines. models: their AESIPE networks, None where there is none.
    """
    pixels = layout.image(image_id)
    image = pixels.permute(1, 2, 0).numpy()
    row = {"image": image}
    asked = [(number, "ae_is_cam", f"{run.name}: last map") for number, run in enumerate(runs) if number]
    asked += [(0, "is_cam", "IS-CAM"), (0, "ae_is_cam", "AE-IS-CAM")]
    for number, name, title in asked:
        found = _map(layout, runs[number], models[number], name, image_id, pixels)
        if found is not None:
            row[title] = colour_scores(image, *found, palette, background_weight)
    if layout.has_mask(image_id):
        row["truth"] = palette[layout.mask(image_id)]
    return row


def _map(layout, run, model, name, image_id, pixels):
    """(keys, map [k,H,W]): the exported one, else the network's, else None."""
    path = map_path(run, name, image_id)
    if path is not None:
        return load_cam(path, layout.n_classes, pixels.shape[1:])
    if model is None:
        return None
    maps = localize(model, pixels, layout.labels(image_id))
    return maps["keys"].numpy(), enlarged(maps[name], pixels.shape[1:])


def check_images(layout, run, ids):
    """Raises UserError unless the run has a network, and each image is there and has labels."""
    if ids:
        RunFolder(run.path).trained_settings("ckpt/aesipe.pt", "train_aesipe")
    for image_id in ids:
        layout.size(image_id)
        layout.labels(image_id)


def write_figures(layout, runs, models, ids, palette, background_weight, folder):
    """Write figure1_ID.png of each image and figure3.png of all. Returns [(path, caption)]; see `check_images`."""
    written = []
    for image_id in ids:
        path = folder / f"figure1_{image_id}.png"
        draw_grid([figure1(layout, models[0], image_id, palette, background_weight)], path, columns=4)
        written.append((path, f"Figure 1 for {caption(layout, image_id)}: from the image to the labels."))
    rows = [figure3(layout, runs, models, image_id, palette, background_weight) for image_id in ids]
    titles = list(dict.fromkeys(title for row in rows for title in row))
    draw_grid(
        [[(title, row.get(title)) for title in titles] for row in rows],
        folder / "figure3.png",
        captions=[caption(layout, image_id) for image_id in ids],
    )
    return [*written, (folder / "figure3.png", "Figure 3: " + ", ".join(titles) + ".")]


def caption(layout, image_id):
    """The image's ID and classes; of an image that has no labels, as in a test list, its ID."""
    if not layout.is_labelled(image_id):
        return image_id
    return f"{image_id}: " + ", ".join(layout.class_names[k + 1] for k in layout.labels(image_id).nonzero()[:, 0])


def strip(layout, run, image_id, predict, palette, background_weight):
    """The [(title, uint8 [H,W,3] or None)] of one image in the order of STRIP, None where the run has no such output.

    predict: function from an image uint8 [3,H,W] to labels, or None.
    """
    pixels = layout.image(image_id)
    image = pixels.permute(1, 2, 0).numpy()
    pictures = [image]
    for name in MAP_NAMES:
        path = map_path(run, name, image_id)
        cam = path and load_cam(path, layout.n_classes, image.shape[:2])
        pictures.append(cam and colour_scores(image, *cam, palette, background_weight))
    pseudo = run.path / "seg_label" / f"{image_id}.png"
    labels = (
        read_labels(pseudo, layout.n_classes, image.shape[:2]) if pseudo.exists() else None,
        predict(pixels) if predict else None,
        layout.mask(image_id) if layout.has_mask(image_id) else None,
    )
    return list(zip(STRIP, [*pictures, *(colour_labels(each, palette) for each in labels)]))


def draw_grid(rows, path, captions=(), columns=None):
    """Write rows of (title, picture or None) as a PNG, the titles over the first row.

    columns: break a single row into lines of so many pictures, each with its title. captions: a line under each row.
    """
    per_line = columns or len(rows[0])
    lines = [row[start : start + per_line] for row in rows for start in range(0, len(row), per_line)]
    figure, axes = plt.subplots(len(lines), per_line, figsize=(2 * per_line, 1.8 * len(lines)), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for number, (line, row_axes) in enumerate(zip(lines, axes)):
        for (title, picture), axis in zip(line, row_axes):
            if number == 0 or columns:
                axis.set_title(title, fontsize=10, parse_math=False)  # a $ in a name is a $
            if picture is not None:
                axis.imshow(picture)
        if number < len(captions):
            row_axes[0].text(
                0, -0.02, captions[number], transform=row_axes[0].transAxes, fontsize=7, va="top", parse_math=False
            )
    with atomic(path) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a name in another script is drawn as boxes
        figure.tight_layout(pad=0.3)
        figure.savefig(temporary, dpi=110, format="png")
    plt.close(figure)
