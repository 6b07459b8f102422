"""What runs made of an image, column by column: for the gallery, the panels and the paper's figures 1 and 3."""

import warnings
from functools import cache

import torch
from matplotlib.figure import Figure

from conventions import unit_range
from data.label_png import read_labels
from files import atomic
from module.affinity import pamr_refine
from module.crf import dense_crf_labels
from module.labels import weighted_argmax
from tool.cam_file import load_cam
from viz.network import enlarged, localize, takes_new_seeds
from viz.pictures import PALETTE, colour_scores, greyed, overlay, thumbnail
from viz.runs import MAP_NAMES

PANELS = "image", "CAM", "IS-CAM", "AE-IS-CAM", "pseudo label", "prediction", "truth"


class Artist:
    """Draws the columns of an image as {title: picture}, see `viz.pictures`.

    layout: `data.dataset.Dataset`. runs: the judged one, then its baselines. models: their AESIPE networks, None where
    there is none. predict: function from an image uint8 [3,H,W] to labels, or None. background_weight: for the labels
    of the maps. colours: of the classes, uint8 [256,3].
    """

    def __init__(self, layout, runs, models, predict, background_weight, colours=PALETTE):
        self.layout, self.runs, self.models, self.predict = layout, runs, models, predict
        self.background_weight, self.colours = background_weight, colours
        self.pictures, self.maps = cache(self._pictures), cache(self._maps)  # once, however many groups show the image

    def _pictures(self, image_id):
        """Thumbnails of the image, all that the runs made of it, and the truth; what they lack is left out."""
        pixels, network = self.layout.image(image_id), self.maps(0, image_id)
        image, size = pixels.permute(1, 2, 0).numpy(), pixels.shape[1:]
        cam, is_cam, last = (self._map(0, name, image_id, size) for name in MAP_NAMES)
        row = {"image": image, "CAM": self._scores(image, cam), "IS-CAM": self._scores(image, is_cam)}
        if network is not None and takes_new_seeds(self.models[0]):
            row["seeds before AE"] = self._seeds(image, network["seeds"])
            row["seeds after AE"] = self._seeds(image, network["ae_seeds"])
        elif network is not None:
            row["seeds"] = self._seeds(image, network["seeds"])
        row["AE-IS-CAM"] = self._scores(image, last)
        if last is not None:
            keys, scores = last
            labels = dense_crf_labels(image, weighted_argmax(scores, self.background_weight), len(keys))
            row["AE-IS-CAM + CRF"] = keys[labels]
        for number, run in enumerate(self.runs[1:], start=1):
            row[f"{run.name}: last map"] = self._scores(image, self._map(number, "ae_is_cam", image_id, size))
        pseudo = self.runs[0].folder / "seg_label" / f"{image_id}.png"
        row["pseudo label"] = read_labels(pseudo, self.layout.n_classes, size) if pseudo.exists() else None
        row["prediction"] = self.predict(pixels) if self.predict else None
        row["truth"] = self.layout.mask(image_id) if self.layout.has_mask(image_id) else None
        return {title: thumbnail(picture) for title, picture in row.items() if picture is not None}

    def _maps(self, number, image_id):
        """What a run's network says at scale 1, see `localize`; None without a network or labels."""
        if self.models[number] is None or not self.layout.is_labelled(image_id):
            return None
        return localize(self.models[number], self.layout.image(image_id), self.layout.labels(image_id))

    def _map(self, number, name, image_id, size):
        """(keys, map [k,H,W]) of a run: the exported one, else the network's, else None."""
        path = self.runs[number].folder / name / f"{image_id}.npz"
        if path.exists():
            return load_cam(path, self.layout.n_classes, size)
        maps = self.maps(number, image_id)
        return maps and (maps["keys"], enlarged(maps[name], size))

    def _scores(self, image, found):
        return None if found is None else colour_scores(image, *found, self.background_weight, self.colours)

    def _seeds(self, image, seeds):
        return overlay(greyed(image), seeds, self.colours)

    def figure1(self, image_id):
        """The method's flow, from the judged run's network at scale 1: image, CAM, seeds of the structure analysis, the
        IS-CAM of their prototypes, that IS-CAM after PAMR, the new seeds taken from it, the AE-IS-CAM of the new
        prototypes, and the labels that it gives. A network without AE ends with its IS-CAM, normalised, and labels."""
        pixels, model, maps = self.layout.image(image_id), self.models[0], self.maps(0, image_id)
        image, last = pixels.permute(1, 2, 0).numpy(), enlarged(maps["ae_is_cam"], pixels.shape[1:])

        def scores(cam):
            return self._scores(image, (maps["keys"], enlarged(cam, pixels.shape[1:])))

        row = {"image": image, "CAM": scores(maps["cam"])}
        row["seeds by structure"] = self._seeds(image, maps["seeds"])
        row["IS-CAM"] = scores(maps["is_cam"])
        if takes_new_seeds(model):
            device = next(model.parameters()).device
            is_cam = maps["is_cam"][None].to(device)  # of the image's classes alone: all are present
            refined = pamr_refine(is_cam, unit_range(pixels[None].to(device)), torch.ones_like(is_cam), model.pamr)
            row["IS-CAM after PAMR"] = scores(refined[0].cpu())
            row["new seeds"] = self._seeds(image, maps["ae_seeds"])
            row["AE-IS-CAM"] = scores(maps["ae_is_cam"])
        return {**row, "labels": maps["keys"][weighted_argmax(last, self.background_weight)]}

    def figure3(self, image_id):
        """The comparison: image, the last map of each baseline run, the judged run's IS-CAM and AE-IS-CAM, truth."""
        others = (f"{run.name}: last map" for run in self.runs[1:])
        return self._chosen(image_id, ("image", *others, "IS-CAM", "AE-IS-CAM", "truth"))

    def panels(self, image_id):
        """The method at a glance: of the image's pictures those of PANELS, few enough to be seen side by side."""
        return self._chosen(image_id, PANELS)

    def _chosen(self, image_id, titles):
        pictures = self.pictures(image_id)
        return {title: pictures[title] for title in titles if title in pictures}

    def classes(self, image_id):
        """Numbers of the image's classes; none for an image without labels, as in a test list."""
        return [1 + k for k in self.layout.present(image_id)] if self.layout.is_labelled(image_id) else []

    def caption(self, image_id):
        """The image's ID and classes."""
        names = ", ".join(self.layout.class_names[k] for k in self.classes(image_id))
        return f"{image_id}: {names}" if names else image_id

    def write_figures(self, ids, folder):
        """Write figure1_ID.png of each image and figure3.png of all. Returns [(path, caption)]."""
        written = {}
        for image_id in ids:
            path = folder / f"figure1_{image_id}.png"
            draw_grid([self.figure1(image_id)], path, [self.caption(image_id)], self.colours)
            written[path] = f"Figure 1 for {self.caption(image_id)}: from the image to the labels."
        if ids:
            rows = [self.figure3(image_id) for image_id in ids]
            draw_grid(rows, folder / "figure3.png", [self.caption(image_id) for image_id in ids], self.colours)
            written[folder / "figure3.png"] = f"Figure 3: {', '.join(_titles(rows))}."
        return list(written.items())


def draw_grid(rows, path, captions, colours):
    """Write rows of {title: picture} as a PNG, a column a title, with a caption under each row. colours: of labels."""
    rows = list(rows)
    titles = _titles(rows)
    figure = Figure(figsize=(2 * len(titles), 1.8 * len(rows)), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.15)  # inches, for the captions, which may be wider than their columns
    axes = figure.subplots(len(rows), len(titles), squeeze=False)
    for axis, title in zip(axes[0], titles):
        axis.set_title(title, fontsize=10, parse_math=False)  # a $ in a name is a $
    for row, line, caption in zip(rows, axes, captions):
        place = {"transform": line[0].transAxes, "va": "top", "in_layout": False}
        line[0].text(0, -0.02, caption, **place, fontsize=7, parse_math=False)
        for axis, title in zip(line, titles):
            axis.axis("off")
            if title in row:
                axis.imshow(colours[row[title]] if row[title].ndim == 2 else row[title])
    with atomic(path) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a name in another script is drawn as boxes
        figure.savefig(temporary, dpi=110, format="png")


def _titles(rows):
    return list(dict.fromkeys(title for row in rows for title in row))
