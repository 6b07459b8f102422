"""Images with all that a run made of them, in groups that say which images they are."""

from typing import NamedTuple

import numpy as np

from data.label_png import read_labels
from module.crf import dense_crf_labels
from module.labels import weighted_argmax
from tool.cam_file import load_cam
from viz.encode import Picture, jpeg_uri, label_uri, thumbnail
from viz.network import localize, seed_labels, takes_new_seeds
from viz.panels import colour_scores, over_image
from viz.runs import MAP_NAMES


class Group(NamedTuple):
    """items: [(ID, what is said of it)]."""

    title: str
    caption: str
    items: list


def choose(ids, count, mious, gains, gain_title, seed=0):
    """The groups of the gallery.

    ids: of the list. mious: {ID: mIoU of the judged map}, empty without masks. gains: {ID: mIoU less that of what it is
    compared with}, empty without. gain_title: says what with. Groups that would be empty are left out; an image may
    stand in several.
    """
    by_miou, by_gain = (sorted(values, key=values.get, reverse=True) for values in (mious, gains))
    gained = [i for i in by_gain if gains[i] > 0][:count]
    lost = [i for i in reversed(by_gain) if gains[i] < 0][:count]
    pool = list(mious or ids)
    drawn = np.random.default_rng(seed).permutation(len(pool))[:count]
    groups = [
        ("Gained most", f"Images whose mIoU rises most {gain_title}.", gained),
        ("Lost most", f"Images whose mIoU falls most {gain_title}.", lost),
        ("Best", "Images with the highest mIoU.", by_miou[:count]),
        ("Worst", "Images with the lowest mIoU.", by_miou[::-1][:count]),
        ("Random", "Drawn at random, the same images for the same list.", [pool[i] for i in drawn]),
    ]
    return [
        Group(title, caption, [(i, said(mious.get(i), gains.get(i))) for i in chosen])
        for title, caption, chosen in groups
        if chosen
    ]


def said(miou, gain):
    """An image's mIoU and gain in percent, as far as they are known."""
    if miou is None:
        return ""
    return f"mIoU {100 * miou:.1f}" + ("" if gain is None else f" ({100 * gain:+.1f})")


class Artist:
    """Draws the columns of an image.

    layout: Layout. run: Run whose outputs are shown. baselines: Runs whose last map stands beside them. model: its
    AESIPE network, for the seeds, or None. predict: function from an image uint8 [3,H,W] to labels, or None.
    palette: uint8 [256,3]. background_weight: for the labels of the maps.
    """

    def __init__(self, layout, run, baselines, model, predict, palette, background_weight):
        self.layout, self.run, self.baselines = layout, run, baselines
        self.model, self.predict, self.palette = model, predict, palette
        self.background_weight = background_weight
        self.drawn = {}

    def pictures(self, image_id):
        """The image's Pictures; what the run lacks is left out. Drawn once, however many groups show it."""
        if image_id not in self.drawn:
            self.drawn[image_id] = [Picture(title, uri) for title, uri in self._draw(image_id)]
        return self.drawn[image_id]

    def classes(self, image_id):
        """[(name, "r g b")] of the image's classes; none for an image without labels."""
        if not self.layout.is_labelled(image_id):
            return []
        present = (self.layout.labels(image_id).nonzero()[:, 0] + 1).tolist()
        return [(self.layout.class_names[k], " ".join(map(str, self.palette[k]))) for k in present]

    def _draw(self, image_id):
        pixels = self.layout.image(image_id)
        image = pixels.permute(1, 2, 0).numpy()
        yield "image", jpeg_uri(thumbnail(image))
        yield from self._map("cam", self.run, image_id, image)
        yield from self._map("is_cam", self.run, image_id, image)
        yield from self._seeds(image_id, pixels, image)
        yield from self._map("ae_is_cam", self.run, image_id, image)
        yield from self._refined(image_id, image)
        for baseline in self.baselines:
            yield from self._map("ae_is_cam", baseline, image_id, image, f"{baseline.name}: last map")
        path = self.run.path / "seg_label" / f"{image_id}.png"
        if path.exists():
            yield "pseudo label", label_uri(read_labels(path, self.layout.n_classes, image.shape[:2]), self.palette)
        if self.predict is not None:
            yield "prediction", label_uri(self.predict(pixels), self.palette)
        if self.layout.has_mask(image_id):
            yield "truth", label_uri(self.layout.mask(image_id), self.palette)

    def _map(self, name, run, image_id, image, title=None):
        path = map_path(run, name, image_id)
        if path is not None:
            cam = load_cam(path, self.layout.n_classes, image.shape[:2])
            picture = colour_scores(image, *cam, self.palette, self.background_weight)
            yield title or MAP_NAMES[name], jpeg_uri(thumbnail(picture))

    def _seeds(self, image_id, pixels, image):
        if self.model is None or not self.layout.is_labelled(image_id):
            return
        maps = localize(self.model, pixels, self.layout.labels(image_id))
        shown = {"seeds": "seeds"}
        if takes_new_seeds(self.model):
            shown = {"seeds": "seeds before AE", "ae_seeds": "seeds after AE"}
        for name, title in shown.items():
            labels = seed_labels(maps["keys"], maps[name])
            yield title, jpeg_uri(over_image(thumbnail(image), labels, self.palette))

    def _refined(self, image_id, image):
        path = map_path(self.run, "ae_is_cam", image_id)
        if path is not None:
            keys, cam = load_cam(path, self.layout.n_classes, image.shape[:2])
            labels = dense_crf_labels(image, weighted_argmax(cam, self.background_weight), len(keys))
            yield f"{MAP_NAMES['ae_is_cam']} + CRF", label_uri(keys[labels], self.palette)


def map_path(run, name, image_id):
    """The file of an exported map, or None."""
    folder = run.map_folder(name)
    path = folder and folder / f"{image_id}.npz"
    return path if path and path.exists() else None
