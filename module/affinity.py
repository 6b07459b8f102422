"""Affinity enhancement (AE): an affinity module spreads the IS-CAM along the image's edges, new prototypes follow."""

import torch
import torch.nn.functional as F

from module.cam import map_seeds, normalize_map, present_classes
from module.pamr import PAMR
from module.prototype import class_prototypes, image_specific_cam

# Name -> function without arguments that makes the module: image [N,3,H,W] in [0,1], mask [N,K,h,w] -> [N,K,H,W].
AFFINITIES = {"pamr": PAMR}
AE_SEQUENCE = ("pamr", "prototype", "is_cam")


@torch.no_grad()
def pamr_refine(cam, image, valid, pamr, image_stride=4, most=None):
    """The affinity module on the present classes only, at 1/image_stride of the image, and back to the grid.

    cam, valid: [N,K,h,w]. image: [N,3,H,W] in [0,1]. pamr: one of AFFINITIES, made.
    most: see `module.cam.present_classes`. Returns [N,K,h,w] without gradient, zero for absent classes.
    """
    # Not max(1, ...): torch.export would write it into thousands of sizes, which take long to load.
    size = [side // image_stride or 1 for side in image.shape[2:]]
    guide = F.interpolate(image, size, mode="bilinear", align_corners=True)
    index, present = present_classes(valid, most)
    index = index[:, :, None, None].expand(-1, -1, *cam.shape[2:])
    refined = pamr(guide, cam.gather(1, index))
    refined = F.interpolate(refined, cam.shape[2:], mode="bilinear", align_corners=True) * present[:, :, None, None]
    return torch.zeros_like(refined[:, :1]).expand_as(cam).scatter(1, index, refined)


def refine_is_cam(features, is_cam, image, valid, pamr, sequence=AE_SEQUENCE, image_stride=4, most=None):
    """Run the modules that follow the first IS-CAM in the given order (each row of the paper's Table 3).

    "pamr" refines the map by the affinity module, whichever it is, "prototype" takes seeds from it and new prototypes
    from them, "is_cam" draws the map of the newest prototypes. most: see `module.cam.present_classes`.
    Returns (cam [N,K,h,w], seeds [N,K,h,w] or None): the last map and the last seeds taken.
    Raises ValueError for an unknown step and for "is_cam" before any "prototype".
    """
    cam, seeds, prototypes = is_cam, None, None
    for step in sequence:
        if step == "pamr":
            cam = pamr_refine(cam.detach(), image, valid, pamr, image_stride, most)
        elif step == "prototype":
            seeds = map_seeds(cam.detach(), valid)
            prototypes = class_prototypes(features, seeds)
        elif step == "is_cam":
            if prototypes is None:
                raise ValueError("sequence: is_cam needs a prototype step before it")
            cam = image_specific_cam(features, prototypes) * valid
        else:
            raise ValueError(f"sequence holds {step!r}: choose from {', '.join(AE_SEQUENCE)}")
    return cam, seeds


def affinity_enhanced_cam(features, is_cam, image, valid, pamr, normalization="minmax", image_stride=4):
    """AE-IS-CAM: IS-CAM -> affinity module -> seeds -> prototypes -> IS-CAM, normalised.

    features: [N,C,h,w]. is_cam: [N,K,h,w]. image: [N,3,H,W] in [0,1]. valid: [N,K,h,w] in {0,1}.
    pamr: one of AFFINITIES, made. normalization: see `module.cam.normalize_map`.
    Returns (AE-IS-CAM [N,K,h,w] in [0,1], seeds [N,K,h,w] one-hot). Gradients flow to the features through the new
    prototypes and cosines, not through the affinity module. The padding of a crop never becomes a seed.
    """
    cam, seeds = refine_is_cam(features, is_cam, image, valid, pamr, image_stride=image_stride)
    return normalize_map(cam, valid, normalization), seeds
