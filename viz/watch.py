"""Watching AE-SIPE and DeepLabV3 while they train: mIoU on a few images with masks, and pictures of some of them."""

from functools import partial

import numpy as np
import torch
import torchvision.transforms.v2.functional as V
from torchvision.transforms import InterpolationMode

from data.transforms import resized
from data.usable import check_image, check_labels, check_mask, usable_ids
from files import in_threads
from infer.segmentation import multi_scale_probabilities
from module.labels import weighted_argmax
from tool.metric import label_confusion_matrix, scores
from viz.network import enlarged, localize
from viz.pictures import PALETTE, colour_scores, in_grid, thumbnail
from viz.runs import MAP_NAMES

MAPS = tuple(MAP_NAMES)  # of AESIPE.forward, in the method's order
N_PANELS = 4
PANEL_WIDTH = 1280  # pixels of the pictures side by side
BACKGROUND_WEIGHT = 1.0  # the maps as they are: the weight that suits them best depends on how far training is


def watch_maps(layout, settings, dtype, dist):
    """The MapWatch that train_aesipe.py's settings ask for; None, and a line that says so, where there are no masks.

    layout: `data.dataset.Dataset`. settings: val_list, val_every, val_images, long_side and skip_bad. dtype, dist: see
    Watch.
    """
    ids = _watched("train_aesipe", layout, settings, (check_image, check_mask, check_labels), dist.main)
    return MapWatch(layout, ids, max(settings.long_side), dtype, dist) if ids else None


def watch_labels(layout, settings, dtype, dist):
    """As watch_maps, the LabelWatch that deeplab/train.py's settings ask for."""
    ids = _watched("deeplab_train", layout, settings, (check_image, check_mask), dist.main)
    return LabelWatch(layout, ids, dtype, dist) if ids else None


def _watched(stage, layout, settings, checks, says):
    """The IDs of the images on which a stage is watched, none where none can be. says: whether this process says so."""
    if settings.val_every == 0:
        return []
    exists = layout.has_list(settings.val_list)
    ids = layout.ids(settings.val_list) if exists else []
    watchable = in_threads(partial(_is_watchable, layout, check_labels in checks), ids)
    chosen = spread([image_id for image_id, can_be in zip(ids, watchable) if can_be], settings.val_images)
    if chosen:  # of tens of thousands only these are looked at; one that skip_bad leaves out is not replaced
        check = partial(_check, {*chosen}, checks)
        usable = {*usable_ids(layout, settings.val_list, (check,), settings.skip_bad, says)}
        chosen = [image_id for image_id in chosen if image_id in usable]
    if says and not chosen:
        print(
            f"{stage}: {layout.root} has no {'masks of' if exists else 'list'} {settings.val_list}, "
            "trained without validation"
        )
    return chosen


def _is_watchable(layout, by_labels, image_id):
    return layout.has_mask(image_id) and (layout.is_labelled(image_id) or not by_labels)


def _check(chosen, checks, layout, image_id):
    """At once, not after hundreds of steps."""
    if image_id in chosen:
        for check in checks:
            check(layout, image_id)


def spread(items, count):
    """At most `count` of the items, evenly over them."""
    count = min(count, len(items))
    return [items[index * len(items) // count] for index in range(count)]


class Watch:
    """mIoU at a single scale, without CRF: `watch` of a `tool.trainer.Task`.

    names: of what is scored, the last the one by which the best step is chosen. layout: `data.dataset.Dataset`. ids:
    images with masks, for maps with labels too. dtype: of the network, None: float32. dist: each process takes its own
    images.
    """

    names: tuple

    def __init__(self, layout, ids, dtype, dist):
        self.layout, self.dtype, self.dist = layout, dtype, dist
        self.ids = ids[dist.rank :: dist.world]
        self.shown = spread(self.ids, N_PANELS) if dist.main else []

    def look(self, model, image_id):
        """(truth uint8 [h,w], labels [h,w] for each of the names, function without arguments that draws them)"""
        raise NotImplementedError

    def __call__(self, step, model, log):
        n_classes = self.layout.n_classes
        matrices = np.zeros((len(self.names), n_classes, n_classes + 1), np.int64)
        for image_id in self.ids:
            truth, found, draw = self.look(model, image_id)
            for matrix, labels in zip(matrices, found):
                matrix += label_confusion_matrix(truth, labels, n_classes, image_id)
            if image_id in self.shown:
                log.picture(f"panels/{image_id}", draw(), step)
        total = self.dist.sum(torch.from_numpy(matrices).to(self.dist.device)).cpu().numpy()
        means = {name: scores(matrix, self.layout.class_names)["miou"] for name, matrix in zip(self.names, total)}
        log.validation(step, means)
        return means[self.names[-1]]


class MapWatch(Watch):
    """Of CAM, IS-CAM and AE-IS-CAM. long_side: larger images are shrunk to it, so that none costs more than training
    does."""

    names = MAPS

    def __init__(self, layout, ids, long_side, dtype, dist):
        super().__init__(layout, ids, dtype, dist)
        self.long_side = long_side

    def look(self, model, image_id):
        image, truth = self.read(image_id)
        output = localize(model, image, self.layout.labels(image_id), self.dtype)
        keys, maps = output["keys"], [enlarged(output[name], truth.shape) for name in MAPS]
        found = [keys[weighted_argmax(cam, BACKGROUND_WEIGHT)] for cam in maps]
        return truth, found, partial(panel, image.permute(1, 2, 0).numpy(), keys, maps, truth)

    def read(self, image_id):
        """(image uint8 [3,h,w], truth uint8 [h,w]) at the size at which the image is watched."""
        size = self.layout.size(image_id)
        factor = min(1, self.long_side / max(size))
        size = [max(1, round(side * factor)) for side in size]
        image = resized(self.layout.image(image_id, at_least=size), size)
        truth = torch.from_numpy(self.layout.mask(image_id))[None]
        return image, V.resize(truth, size, interpolation=InterpolationMode.NEAREST_EXACT)[0].numpy()


class LabelWatch(Watch):
    """Of DeepLabV3's labels, at the images' own size."""

    names = ("deeplab",)

    def look(self, model, image_id):
        image, truth = self.layout.image(image_id), self.layout.mask(image_id)
        probabilities = multi_scale_probabilities(model, image.to(self.dist.device), (1.0,), False, self.dtype)
        labels = probabilities.argmax(dim=0).cpu().numpy()
        pictures = [image.permute(1, 2, 0).numpy(), PALETTE[labels], PALETTE[truth]]
        return truth, [labels], partial(side_by_side, pictures)


def panel(image, keys, maps, truth):
    """image | CAM | IS-CAM | AE-IS-CAM | truth, uint8 [h,w,3].

    image: uint8 [H,W,3]. keys: [k]. maps: [k,H,W] in [0,1], one for each of MAPS. truth: uint8 [H,W].
    """
    pictures = [image, *(colour_scores(image, keys, cam, BACKGROUND_WEIGHT) for cam in maps), PALETTE[truth]]
    return side_by_side(pictures)


def side_by_side(pictures):
    """Pictures uint8 [H,W,3] in a row, at most PANEL_WIDTH wide."""
    return thumbnail(in_grid(pictures, len(pictures)), PANEL_WIDTH)
