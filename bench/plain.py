"""The method's costly operations in their plain formulations: the yardstick of `python -m bench`.

Each function computes what its namesake in `module/` does (`save_cam`: in `tool/cam_file.py`; `load_sample`: what
`data/` does), in the way of the public predecessors (SIPE, PAMR, IRN): one broadcast, gather or dense matrix, on all K
classes. A docstring names what its function materialises; the results are the same, which test/bench checks.
"""

from collections import defaultdict
from functools import lru_cache
from itertools import product

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from data.transforms import scaled
from module.cam import map_seeds, normalize_cam, normalize_map, valid_mask

DILATIONS = (1, 2, 4, 8, 12, 24)
IGNORED = 255
EPSILON = 1e-5  # of IRN's losses
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet


@torch.no_grad()
def structure_seeds(features, cam, valid, background_weight=0.5):
    """Seeds from the soft IoU of each position's similarity map with each class's CAM.

    features: [N,C,h,w]. cam, valid: [N,K,h,w]. Returns one-hot seeds [N,K,h,w].
    Materialises the cosine map [N,hw,hw] and its products with the CAMs, [N,K,hw,hw].
    """
    unit = F.normalize(features.flatten(2), dim=1, eps=1e-5)
    similarity = F.relu(unit.transpose(1, 2) @ unit)[:, None]  # [N,1,hw,hw]
    masks = (cam * valid).flatten(2)[:, :, None]  # [N,K,1,hw]
    intersection = (similarity * masks).sum(dim=3)  # [N,K,hw]
    union = similarity.sum(dim=3) + masks.sum(dim=3) - intersection
    iou = intersection / union.clamp_min(1e-12)
    iou[:, 0] *= background_weight
    winner = F.one_hot(iou.argmax(dim=1), cam.shape[1])  # [N,hw,K]
    return winner.transpose(1, 2).view(cam.shape) * valid


def class_prototypes(features, seeds):
    """Mean feature of each class's seeds, zero for a class without any.

    features: [N,C,h,w]. seeds: [N,K,h,w]. Returns [N,K,C]. Materialises [N,K,C,h,w].
    """
    sums = (features[:, None] * seeds[:, :, None]).sum(dim=(3, 4))
    return sums / seeds.sum(dim=(2, 3))[:, :, None].clamp_min(1)


def image_specific_cam(features, prototypes):
    """ReLU of the cosine of each position's feature with each prototype.

    features: [N,C,h,w]. prototypes: [N,K,C]. Returns [N,K,h,w]. Materialises [N,K,C,h,w], several times.
    """
    return F.relu(F.cosine_similarity(features[:, None], prototypes[:, :, :, None, None], dim=2))


class PAMR(nn.Module):
    """Iterated local averaging with weights from the image, its neighbours gathered by dilated convolutions."""

    def __init__(self, iterations=10, dilations=DILATIONS):
        super().__init__()
        self.iterations = iterations
        self.dilations = dilations
        windows = torch.eye(9).view(9, 1, 3, 3)  # each kernel is one-hot: it picks one place of the 3x3 window
        self.register_buffer("windows", windows)
        self.register_buffer("neighbours", torch.cat([windows[:4], windows[5:]]))

    @torch.no_grad()
    def forward(self, image, mask):
        """image: [N,3,H,W] in [0,1]. mask: [N,K,h,w]. Returns the refined mask [N,K,H,W].

        Materialises the neighbours of all classes, [N,K,48,H,W], in each iteration, and their products.
        """
        mask = F.interpolate(mask, image.shape[2:], mode="bilinear", align_corners=True)
        weights = self.affinity(image)
        for _ in range(self.iterations):
            mask = (self._gather(mask, self.neighbours) * weights).sum(dim=2)
        return mask

    def affinity(self, image):
        """Weights of the neighbours, [N,1,48,H,W]. Materialises [N,3,48,H,W] and, for the contrast, [N,3,54,H,W]."""
        std = self._gather(image, self.windows).std(dim=2, keepdim=True)
        distance = (image[:, :, None] - self._gather(image, self.neighbours)).abs()
        return (-distance / (1e-8 + 0.1 * std)).mean(dim=1, keepdim=True).softmax(dim=2)

    def _gather(self, maps, kernels):
        """What the kernels pick at every dilation: [N,K,dilations * kernels,H,W] of maps [N,K,H,W]."""
        planes = maps.flatten(0, 1)[:, None]  # [N*K,1,H,W]
        picked = [
            F.conv2d(F.pad(planes, [dilation] * 4, mode="replicate"), kernels.to(maps), dilation=dilation)
            for dilation in self.dilations
        ]
        return torch.cat(picked, dim=1).view(*maps.shape[:2], -1, *maps.shape[2:])


def affinity_enhanced_cam(features, is_cam, image, valid, pamr, normalization="minmax", image_stride=4):
    """AE-IS-CAM: IS-CAM -> PAMR -> seeds -> prototypes -> IS-CAM, normalised, on all K classes.

    features: [N,C,h,w]. is_cam, valid: [N,K,h,w]. image: [N,3,H,W] in [0,1]. Returns (cam, seeds), both [N,K,h,w].
    Materialises what PAMR, `class_prototypes` and `image_specific_cam` do: [N,K,48,H/4,W/4] and [N,K,C,h,w].
    """
    guide_size = [max(1, side // image_stride) for side in image.shape[2:]]
    guide = F.interpolate(image, guide_size, mode="bilinear", align_corners=True)
    refined = pamr(guide, is_cam.detach())
    refined = F.interpolate(refined, is_cam.shape[2:], mode="bilinear", align_corners=True)
    seeds = map_seeds(refined, valid)
    cam = image_specific_cam(features, class_prototypes(features, seeds))
    return normalize_map(cam, valid, normalization), seeds


@torch.inference_mode()
def multi_scale_maps(model, image, labels, scales, names):
    """CAM export of one image as `infer.maps.multi_scale_maps` does it, on all K classes until the end.

    model: an AESIPE as trained. image: uint8 [3,H,W]. labels: [K-1]. names: of the maps, ("ae_is_cam",).
    Returns (keys [k], {"ae_is_cam": [k,H,W]}). Materialises, a scale, what the functions above do and [K,H,W].
    """
    pamr, total = PAMR().to(image.device), 0
    for scale in scales:
        sized = scaled(image, scale)[None].float() / 255
        encoded = model.encode(torch.cat([sized, sized.flip(3)]))
        logits, _, features = (maps[:1] + maps[1:].flip(3) for maps in encoded)
        valid = valid_mask(labels[None], sized.new_ones(1, *features.shape[2:]))
        seeds = structure_seeds(features, normalize_cam(logits, valid), valid)
        is_cam = image_specific_cam(features, class_prototypes(features, seeds)) * valid
        cam, _ = affinity_enhanced_cam(features, is_cam, sized, valid, pamr)
        total = total + F.interpolate(cam, image.shape[1:], mode="bilinear", align_corners=True)[0]
    keys = torch.cat([labels.new_ones(1), labels]).nonzero()[:, 0]
    kept = total[keys]
    return keys, {name: kept / (kept.amax(dim=(1, 2), keepdim=True) + 1e-5) for name in names}


@torch.no_grad()
def propagate(scores, boundary, radius=5, beta=10, steps=256):
    """Random walk of class scores, held back by boundaries: a dense matrix, squared log2(steps) times.

    scores: [K,H,W]. boundary: [H,W] in [0,1]. Returns [K,H,W]. Raises ValueError unless steps is a power of two.
    Materialises the transition matrix [HW,HW], two at a time, in float32 or in the boundary's float64.
    """
    if steps < 1 or steps & (steps - 1):
        raise ValueError(f"{steps} steps: squaring needs a power of two")
    boundary = boundary.to(torch.promote_types(boundary.dtype, torch.float32))
    transition = _dense_affinity(boundary, radius).pow_(beta)
    transition /= transition.sum(dim=0)
    for _ in range(steps.bit_length() - 1):
        transition = transition @ transition
    start = (scores * (1 - boundary)).flatten(1).to(transition.dtype)
    return (start @ transition).view(scores.shape).to(scores.dtype)


def _dense_affinity(boundary, radius):
    """Affinities [HW,HW] of all pixels of a boundary map [H,W]: 1 on the diagonal, 0 of pixels beyond the radius."""
    height, width = boundary.shape
    margins = (radius - 1, radius - 1, 0, radius - 1)
    padded = F.pad(boundary, margins)  # so that every pixel is a source
    pixel = torch.arange(height * width, device=boundary.device).view(height, width)
    pixel = F.pad(pixel, margins, value=-1).flatten()  # padded index -> index in the map, -1 outside
    matrix = torch.eye(height * width, dtype=boundary.dtype, device=boundary.device)
    for _, source, destination, path in pair_indices(*padded.shape, radius, boundary.device):
        affinity = 1 - padded.flatten()[path].amax(dim=1)
        inside = pixel[destination] >= 0
        sources, destinations = pixel[source].expand_as(destination)[inside], pixel[destination][inside]
        matrix[sources, destinations] = affinity[inside]
        matrix[destinations, sources] = affinity[inside]
    return matrix


@lru_cache(maxsize=2)
def pair_indices(height, width, radius, device):
    """Flat indices of all pairs of pixels and of every pixel between them, kept for maps of one size as IRN keeps them.

    Returns a tuple of (offsets (dy, dx) [O,2], source [P], destination [O,P], path [O,L,P]), one a path length L.
    Sources leave radius-1 rows at the bottom and radius-1 columns at both sides. Materialises the paths, int64: for
    radius 10 some 14 pixels of each of 152 paths a source, which is 224 MB for a map of 128 x 128.
    """
    by_length = defaultdict(list)
    for dy, dx in product(range(radius), range(1 - radius, radius)):
        if (dy, dx) > (0, 0) and dy**2 + dx**2 < radius**2:
            box = product(range(dy + 1), range(min(0, dx), max(0, dx) + 1))
            path = [(y, x) for y, x in box if (dy * x - dx * y) ** 2 < dy**2 + dx**2]
            by_length[len(path)].append(((dy, dx), path))
    margin = radius - 1
    flat = torch.arange(height * width, device=device).view(height, width)
    source = flat[: height - margin, margin : width - margin].flatten()
    strides = torch.tensor([width, 1], device=device)
    groups = []
    for group in by_length.values():
        offsets, paths = (torch.tensor(places, device=device) for places in zip(*group))  # [O,2], [O,L,2]
        groups.append(
            (
                offsets,
                source,
                source + (offsets * strides).sum(dim=-1, keepdim=True),
                source + (paths * strides).sum(dim=-1, keepdim=True),
            )
        )
    return tuple(groups)


def affinity_displacement_loss(boundary, displacement, labels, radius=10):
    """The four terms of IRN's loss over all pairs of pixels within a radius.

    boundary: [N,1,h,w] in [0,1]. displacement: [N,2,h,w]. labels: [N,h,w], 255 in no pair.
    Returns a dict of scalars pos, neg, dp_fg, dp_bg. Materialises the boundary along all paths, in all
    [N,offsets,path,pairs], and several tensors [N,offsets,pairs] and [N,2,offsets,pairs], with their graph.
    """
    affinity, difference, offset, first, second = _gather_pairs(boundary, displacement, labels, radius)
    known = (first != IGNORED) & (second != IGNORED)
    equal, unequal = (first == second) & known, ((first != second) & known).to(affinity.dtype)
    background, foreground = ((equal & kind).to(affinity.dtype) for kind in (first == 0, first > 0))

    attraction, repulsion = -torch.log(affinity + EPSILON), -torch.log(1 + EPSILON - affinity)
    background_cost = (attraction * background).sum() / (background.sum() + EPSILON)
    foreground_cost = (attraction * foreground).sum() / (foreground.sum() + EPSILON)
    to_centre = (difference - offset).abs() * foreground[:, None]
    to_zero = difference.abs() * background[:, None]
    return {
        "pos": (background_cost + foreground_cost) / 2,
        "neg": (repulsion * unequal).sum() / (unequal.sum() + EPSILON),
        "dp_fg": to_centre.sum() / (2 * foreground.sum() + EPSILON),
        "dp_bg": to_zero.sum() / (2 * background.sum() + EPSILON),
    }


def _gather_pairs(boundary, displacement, labels, radius):
    """Every pair's affinity [N,O,P], difference of displacements [N,2,O,P], offset [2,O,1] and two labels [N,O,P]."""
    pairs = pair_indices(*boundary.shape[2:], radius, boundary.device)
    boundary, displacement = boundary.flatten(1), displacement.flatten(2)
    labels = labels.reshape(boundary.shape)
    affinities = []
    for _, _, _, path in pairs:
        along = boundary.index_select(1, path.flatten()).view(-1, *path.shape)  # [N,O,L,P]
        affinities.append(1 - along.max(dim=2).values)
    source, destination = pairs[0][1], torch.cat([group[2] for group in pairs])
    offset = torch.cat([group[0] for group in pairs]).T[:, :, None].to(displacement.dtype)
    target = displacement.index_select(2, destination.flatten()).view(*displacement.shape[:2], *destination.shape)
    difference = displacement.index_select(2, source)[:, :, None] - target
    first = labels[:, source][:, None].expand(-1, len(destination), -1)
    return torch.cat(affinities, dim=1), difference, offset, first, labels[:, destination]


def load_sample(path, long_side, crop_size, rng):
    """A training image as the predecessors load it; it counts for its speed only, the product draws otherwise.

    long_side: (low, high) pixels of the longer side. rng: numpy.random.Generator. Returns float32 [3,S,S], S the
    crop_size, with zeros around the image. Materialises the whole image and the crop in float64, channels last.
    """
    image = Image.open(path).convert("RGB")
    factor = rng.uniform(*long_side) / max(image.size)
    image = image.resize([max(1, round(side * factor)) for side in image.size], Image.Resampling.BICUBIC)
    image = (np.asarray(image, np.float64) / 255 - MEAN) / STD
    if rng.random() < 0.5:
        image = np.fliplr(image)
    canvas = np.zeros((crop_size, crop_size, 3))
    shown, hidden = zip(*(_place(side, crop_size, rng) for side in image.shape[:2]))
    canvas[shown] = image[hidden]
    return torch.from_numpy(np.ascontiguousarray(canvas.transpose(2, 0, 1), np.float32))


def _place(side, crop_size, rng):
    """Where along one axis an image lies in its crop, and which part of the image that is: two slices."""
    length = min(side, crop_size)
    start = rng.integers(abs(crop_size - side) + 1)
    placed, whole = slice(start, start + length), slice(0, length)
    return (placed, whole) if side < crop_size else (whole, placed)


def save_cam(path, keys, cam):
    """The maps of an image as the predecessors store them, float32 and uncompressed: 4 k H W bytes.

    path: of the .npz file. keys: [k], classes with background 0 first. cam: [k,H,W] in [0,1].
    """
    np.savez(path, keys=np.asarray(keys), cam=np.asarray(cam, np.float32))
