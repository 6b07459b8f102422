"""Class activation maps: normalisation, background and the mask of what may be labelled."""

import torch
import torch.nn.functional as F

EPS = 1e-5


def valid_mask(labels, inside):
    """Where each class may appear: its image-level label times the inside of the crop.

    labels: [N,K-1] in {0,1}, the foreground classes of each image.
    inside: [N,h,w] in {0,1}, 1 where the crop shows the image and 0 on its padding.
    Returns [N,K,h,w] float in {0,1}; the background (channel 0) is always present inside the crop.
    """
    present = torch.cat([torch.ones_like(labels[:, :1]), labels], dim=1)
    return present[:, :, None, None] * inside[:, None].to(present.dtype)


def inside_mask(box, size, grid):
    """Which positions of the grid lie on the image and not on the crop's padding.

    box: [N,4] int, (top, left, bottom, right) in pixels of the crop. size: (H,W) of the crop. grid: (h,w).
    Returns [N,h,w] float in {0,1}; position i of the grid stands for pixel floor(i H / h), as nearest resizing does.
    """
    y = torch.arange(grid[0], device=box.device) * size[0] // grid[0]
    x = torch.arange(grid[1], device=box.device) * size[1] // grid[1]
    top, left, bottom, right = box[:, :, None].unbind(dim=1)
    rows = (y >= top) & (y < bottom)
    columns = (x >= left) & (x < right)
    return (rows[:, :, None] & columns[:, None, :]).float()


def normalize_cam(logits, valid=None, background="all"):
    """Class logits -> normalised CAM with a background channel (DESIGN section 1, row CAM).

    logits: [N,K-1,h,w], the classifier's response at each position.
    valid: [N,K,h',w'] in {0,1} (see `valid_mask`) or None. Given, the CAM is resized to its grid and masked by it, so
        that no class that the image does not have can win a pixel.
    background: "all" takes 1 - max over all classes, as SIPE does; "present" over the image's own classes only.
    Returns [N,K,h',w'] in [0,1], background first. Gradients flow to the logits.
    """
    cam = F.relu(logits)
    cam = cam / (cam.amax(dim=(2, 3), keepdim=True) + EPS)
    rivals = cam
    if background == "present" and valid is not None:
        rivals = cam * valid[:, 1:].amax(dim=(2, 3), keepdim=True)
    cam = torch.cat([1 - rivals.amax(dim=1, keepdim=True), cam], dim=1)
    if valid is None:
        return cam
    return F.interpolate(cam, valid.shape[2:], mode="bilinear", align_corners=True) * valid


def normalize_map(cam, valid, mode="minmax"):
    """Normalise IS-CAMs per class over the inside of the crop (the paper's "norm").

    cam: [N,K,h,w], non-negative. valid: [N,K,h,w] or broadcastable to it, in {0,1}.
    mode: "minmax" (AE-SIPE), "max" (SIPE: divide by the maximum) or "none".
    Returns [N,K,h,w] in [0,1], zero where valid is zero.
    """
    valid = valid.expand_as(cam)
    cam = cam * valid
    if mode == "none":
        return cam
    top = cam.amax(dim=(2, 3), keepdim=True)
    if mode == "max":
        return cam / (top + EPS)
    if mode != "minmax":
        raise ValueError(f"normalization must be minmax, max or none, not {mode!r}")
    # The padding is zero by construction: it must not become the minimum, or min-max would do nothing on padded crops.
    bottom = torch.where(valid > 0, cam, cam.new_full((), torch.inf)).amin(dim=(2, 3), keepdim=True)
    bottom = torch.where(torch.isfinite(bottom), bottom, torch.zeros_like(bottom))
    return (cam - bottom) / (top - bottom + EPS) * valid


def map_seeds(cam, valid):
    """One-hot seeds: at each position the strongest of the image's own classes.

    cam, valid: [N,K,h,w]. Returns [N,K,h,w] float in {0,1}; positions with no valid class (padding) get no seed.
    """
    strongest = torch.where(valid > 0, cam, cam.new_full((), -torch.inf)).argmax(dim=1, keepdim=True)
    return torch.zeros_like(cam).scatter_(1, strongest, 1.0) * valid


def present_classes(valid, most=None):
    """Pack the classes that the images of a batch have, since absent ones cost as much and count for nothing.

    valid: [N,K,h,w]. most: P, the most classes that any image has, background included; None counts them in `valid`,
    for which the CPU has to wait for a GPU.
    Returns (index, present): index [N,P] int64, the image's own first and in order; present [N,P] bool, False where an
    image has fewer than P.
    """
    has = valid.amax(dim=(2, 3)) > 0
    if (
        torch.compiler.is_exporting()
    ):  # how many classes an image has is data, on which no graph can depend: it takes all
        return torch.arange(has.shape[1]).expand(has.shape), has
    count = max(1, int(has.sum(dim=1).max())) if most is None else most
    index = has.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :count]
    return index, has.gather(1, index)
