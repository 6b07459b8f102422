"""The operations that `python -m bench` times: the product's own against bench/plain.py's, on the same inputs."""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode
from torchvision.io import write_jpeg

from bench import plain
from conventions import unit_range
from data.layout import Layout
from data.loader import TrainingSet
from data.toy import draw_toy_image
from data.transforms import CropTransform, scaled
from infer.maps import multi_scale_maps
from module.affinity import affinity_enhanced_cam
from module.cam import normalize_cam, valid_mask
from module.crf import dense_crf_labels
from module.irn_loss import affinity_displacement_loss, irn_loss
from module.pamr import PAMR
from module.paths import half_disc_offsets
from module.prototype import class_prototypes, image_specific_cam
from module.random_walk import propagate
from module.structure import structure_seeds
from net.aesipe import AESIPE
from net.backbone import build_backbone
from tool.cam_file import load_cam, save_cam
from tool.checkpoint import fold_batch_norm
from tool.parallel import parallel_map

CHANNELS = 768  # of the hierarchical feature
SCALES = (1.0, 0.5, 1.5, 2.0)
RADIUS, WALK_RADIUS = 10, 5  # of IRN's pairs and of the random walk
FLOAT = 4  # bytes


@dataclass(frozen=True)
class Shape:
    """What is timed: the paper's training batch, and a photograph of PASCAL VOC's usual size, by default."""

    batch_size: int = 16
    crop_size: int = 512
    n_classes: int = 21
    present: int = 3  # classes that an image has, with the background
    height: int = 375
    width: int = 500
    backbone: str = "resnet101"

    @property
    def grid(self):
        """Side of the feature grid of a crop."""
        return ceil(self.crop_size / 16)


@dataclass(frozen=True)
class Case:
    """functions: {"ours": ..., "plain": ..., ...}, of no arguments, timed against each other.

    difference: of ours and plain, a number that must not exceed tolerance; both maps, or a share of labels.
    floor: (operations, bytes) that the product's way needs at least. note: function of the results to a line, or None.
    """

    functions: dict
    difference: Callable
    tolerance: float
    floor: tuple = (0, 0)
    note: Callable | None = None


def build(name, shape, device, folder):
    """The case of OPERATIONS by its name, its inputs on the device. folder: for files, a pathlib.Path."""
    torch.manual_seed(0)
    return OPERATIONS[name](shape, device, folder)


def _training_inputs(shape, device):
    """features, cam, valid and image of one training batch, with an image's classes drawn from all."""
    n, k, side = shape.batch_size, shape.n_classes, shape.grid
    features = torch.randn(n, CHANNELS, side, side).to(device, memory_format=torch.channels_last)
    labels = torch.zeros(n, k - 1)
    for row in labels:
        row[torch.randperm(k - 1)[: shape.present - 1]] = 1
    image = _smooth(n, 3, shape.crop_size, shape.crop_size)
    valid = valid_mask(labels, torch.ones(n, side, side))
    cam = normalize_cam(_smooth(n, k - 1, side, side), valid)
    return features, cam.to(device), valid.to(device), image.to(device)


def _smooth(*shape):
    """Noise in [0,1] with structure at several scales, as photographs and maps have."""
    size = shape[2:]
    layers = [
        F.interpolate(torch.rand(*shape[:2], *(max(1, side // cell) for side in size)), size, mode="bilinear")
        for cell in (2, 8, 32)
    ]
    return (0.2 * layers[0] + 0.3 * layers[1] + 0.5 * layers[2]).clamp(0, 1)


def _largest(one, other):
    return (one - other).abs().max().item()


def _relative(one, other):
    return _largest(one, other) / other.abs().max().item()


def _share(one, other):
    """The share of positions whose labels differ, of one-hot maps [N,K,h,w] or of label maps."""
    if one.dim() == 4:
        one, other = one.argmax(dim=1), other.argmax(dim=1)
    return (one != other).float().mean().item()


def _seeds(shape, device, _):
    features, cam, valid, _ = _training_inputs(shape, device)
    positions = shape.grid**2
    # The half of the symmetric cosine map, and its sums over the masks and over all positions.
    products = shape.batch_size * positions**2 * (CHANNELS + 2 * (shape.present + 1))
    return Case(
        {
            "ours": lambda: structure_seeds(features, cam, valid),
            "plain": lambda: plain.structure_seeds(features, cam, valid),
        },
        _share,
        1e-3,
        (products, 0),
    )


def _prototypes(shape, device, _):
    features, cam, valid, _ = _training_inputs(shape, device)
    seeds = structure_seeds(features, cam, valid)
    return Case(
        {"ours": lambda: class_prototypes(features, seeds), "plain": lambda: plain.class_prototypes(features, seeds)},
        _largest,
        1e-4,
        (0, features.nbytes),
    )


def _is_cam(shape, device, _):
    features, cam, valid, _ = _training_inputs(shape, device)
    prototypes = class_prototypes(features, structure_seeds(features, cam, valid))
    return Case(
        {
            "ours": lambda: image_specific_cam(features, prototypes),
            "plain": lambda: plain.image_specific_cam(features, prototypes),
        },
        _largest,
        1e-4,
        (0, 2 * features.nbytes),
    )


def _pamr_floor(shape, pixels):
    """Bytes: in each iteration the 48 weights once, the maps of the present classes read and written."""
    return 10 * (48 + 2 * shape.present) * pixels * FLOAT


def _pamr(shape, device, _):
    _, cam, valid, image = _training_inputs(shape, device)
    guide = F.interpolate(image, scale_factor=0.25, mode="bilinear", align_corners=True)
    kept = valid[:, :, 0, 0].bool()
    packed = cam[kept].view(len(cam), shape.present, *cam.shape[2:])
    ours, theirs = PAMR(), plain.PAMR().to(device)
    return Case(
        {"ours": lambda: ours(guide, packed), "plain": lambda: theirs(guide, cam)},
        lambda one, other: _largest(one.flatten(0, 1), other[kept]),
        1e-4,
        (0, _pamr_floor(shape, guide[:, 0].numel())),
    )


def _ae(shape, device, _):
    features, cam, valid, image = _training_inputs(shape, device)
    is_cam = image_specific_cam(features, class_prototypes(features, structure_seeds(features, cam, valid))) * valid
    ours, theirs = PAMR(), plain.PAMR().to(device)
    return Case(
        {
            "ours": lambda: affinity_enhanced_cam(features, is_cam, image, valid, ours)[1],
            "plain": lambda: plain.affinity_enhanced_cam(features, is_cam, image, valid, theirs)[1],
        },
        _share,
        1e-3,
        (0, 3 * features.nbytes + _pamr_floor(shape, image[:, 0].numel() // 16)),
    )


def _random_walk(shape, device, _):
    size = ceil(shape.height / 4), ceil(shape.width / 4)
    boundary = _smooth(1, 1, *size)[0, 0].to(device)
    scores = _smooth(1, shape.present, *size)[0].to(device)
    entries = (2 * len(half_disc_offsets(WALK_RADIUS)) + 1) * size[0] * size[1]
    products = 90  # of the expansion that 256 steps take
    return Case(
        {"ours": lambda: propagate(scores, boundary), "plain": lambda: plain.propagate(scores, boundary)},
        _largest,
        1e-4,
        (2 * products * entries * shape.present, products * entries * (8 + 8)),
    )


def _irn_loss(shape, device, _):
    side = shape.crop_size // 4
    # A smooth boundary would tie on whole paths; ties fall to other pixels in the two formulations.
    boundary = torch.rand(shape.batch_size, 1, side, side, device=device, requires_grad=True)
    displacement = torch.randn(shape.batch_size, 2, side, side, device=device, requires_grad=True)
    labels = (_smooth(shape.batch_size, 1, side, side)[:, 0].to(device) * 8).long()
    labels[labels > 5] = 255

    def gradients(loss):
        total = irn_loss(loss(boundary, displacement, labels, RADIUS))
        return torch.cat([gradient.flatten() for gradient in torch.autograd.grad(total, (boundary, displacement))])

    return Case(
        {
            "ours": lambda: gradients(affinity_displacement_loss),
            "plain": lambda: gradients(plain.affinity_displacement_loss),
        },
        _relative,
        1e-4,
        (0, len(half_disc_offsets(RADIUS)) * boundary.nbytes * 6),
    )


def _crf(shape, device, _):
    rng = np.random.default_rng(0)  # pictures with objects: on noise the CRF's lattice would be many times larger
    pictures, masks = zip(*(draw_toy_image(rng, shape.height, shape.width) for _ in range(8)))
    labels = [np.minimum(mask, shape.present - 1) for mask in masks]

    def refine(number):
        return number, dense_crf_labels(pictures[number], labels[number], shape.present)

    return Case(
        {
            "ours": lambda: dict(parallel_map(refine, range(8), torch.get_num_threads(), "crf")),
            "plain": lambda: dict(map(refine, range(8))),
        },
        lambda ours, theirs: float(np.mean([ours[number] != theirs[number] for number in theirs])),
        0,
    )


def _loading(shape, device, folder):
    layout = _photographs(folder, shape, 16)
    ids = [f"{number:02d}" for number in range(16)]
    images = TrainingSet(layout, ids, CropTransform(shape.crop_size, long_side=(320, 640)), seed=0)
    paths = [folder / "JPEGImages" / f"{image_id}.jpg" for image_id in ids]
    rng = np.random.default_rng(0)
    return Case(
        {
            "ours": lambda: [images[0, number] for number in range(16)],
            "plain": lambda: [plain.load_sample(path, (320, 640), shape.crop_size, rng) for path in paths],
        },
        lambda *_: 0.0,
        0,
    )  # each draws its own crops


def _photographs(folder, shape, count):
    """A small dataset of JPEGs at the photograph's size."""
    (folder / "JPEGImages").mkdir(parents=True, exist_ok=True)
    names = [f"class{number}" for number in range(1, shape.n_classes)]
    (folder / "classes.txt").write_text("\n".join(["background", *names]) + "\n")
    (folder / "image_labels.txt").write_text("".join(f"{number:02d} {names[0]}\n" for number in range(count)))
    for number in range(count):
        image = (_smooth(1, 3, shape.height, shape.width)[0] * 255).to(torch.uint8)
        write_jpeg(image, str(folder / "JPEGImages" / f"{number:02d}.jpg"), quality=90)
    return Layout(folder)


def _cam_file(shape, device, folder):
    folder.mkdir(parents=True, exist_ok=True)
    keys = np.arange(shape.present)
    cam = F.interpolate(
        _smooth(1, shape.present, shape.height // 16, shape.width // 16), (shape.height, shape.width), mode="bilinear"
    )[0].numpy()
    paths = {name: folder / f"{name}.npz" for name in ("ours", "ours, 8 bits", "plain")}

    def stored(name, save, *bits):
        save(paths[name], keys, cam, *bits)
        return torch.from_numpy(load_cam(paths[name])[1])

    def sizes(_):
        return "bytes: " + ", ".join(f"{name} {path.stat().st_size}" for name, path in paths.items())

    return Case(
        {
            "ours": lambda: stored("ours", save_cam),
            "ours, 8 bits": lambda: stored("ours, 8 bits", save_cam, 8),
            "plain": lambda: stored("plain", plain.save_cam),
        },
        _largest,
        1e-3,
        note=sizes,
    )


def _cam_export(shape, device, _):
    image = (_smooth(1, 3, shape.height, shape.width)[0] * 255).to(torch.uint8).to(device)
    labels = torch.zeros(shape.n_classes - 1, device=device)
    labels[: shape.present - 1] = 1
    model = AESIPE(build_backbone(shape.backbone, "none"), shape.n_classes).eval().to(device)
    folded = AESIPE(build_backbone(shape.backbone, "none"), shape.n_classes).eval()
    folded.load_state_dict(model.state_dict())
    folded = fold_batch_norm(folded).to(device, memory_format=torch.channels_last)

    views = [
        torch.cat([view, view.flip(3)]).contiguous(memory_format=torch.channels_last)
        for view in (unit_range(scaled(image, scale)[None]) for scale in SCALES)
    ]

    def encode():
        with torch.inference_mode():
            for view in views:
                folded.encoder(view)

    def maps(export, network):
        return export(network, image, labels, SCALES, ("ae_is_cam",))[1]["ae_is_cam"]

    with FlopCounterMode(display=False) as counter:
        encode()
    return Case(
        {
            "ours": lambda: maps(multi_scale_maps, folded),
            "encoder alone": encode,
            "plain": lambda: maps(plain.multi_scale_maps, model),
        },
        _largest,
        1e-2,
        (counter.get_total_flops(), 0),
    )


OPERATIONS = {
    "seeds": _seeds,
    "prototypes": _prototypes,
    "is_cam": _is_cam,
    "pamr": _pamr,
    "ae": _ae,
    "random_walk": _random_walk,
    "irn_loss": _irn_loss,
    "crf": _crf,
    "loading": _loading,
    "cam_file": _cam_file,
    "cam_export": _cam_export,
}
