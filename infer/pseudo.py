"""Pseudo labels of one image: its map, spread by a random walk that IRN's boundaries stop."""

import torch
import torch.nn.functional as F

from conventions import unit_range
from module.random_walk import propagate
from net.irn import build
from progress import progress_bar
from tool.checkpoint import load_model
from tool.stages import IRN


@torch.inference_mode()
def mean_boundary(irn, image, dtype=None):
    """image: uint8 [3,H,W]. Returns the boundary [h,w] in [0,1] at stride 4: the sigmoid of the mean of two logits, of
    image and mirror image, as IRN's published code has it. dtype: of the network under autocast, None: float32."""
    image = unit_range(image[None])
    both = torch.cat([image, image.flip(3)])
    with torch.autocast(image.device.type, dtype, enabled=dtype is not None):
        logits = irn.boundary(irn.encoder(both))[:, 0].float()
    return ((logits[0] + logits[1].flip(1)) / 2).sigmoid()


def walked_scores(cam, boundary, settings):
    """cam [k,H,W] in [0,1] on boundary's device, boundary [h,w] at stride 4 -> float32 scores [k,H,W] in [0,1], whose
    argmax over the classes is the pseudo label.

    settings: power, radius, beta and steps of `tool.settings.MakeSegLabels`.
    """
    if boundary.device.type == "mps":  # which has no float64
        cam, boundary = cam.cpu(), boundary.cpu()
    size = cam.shape[1:]
    low = F.interpolate(cam[None], boundary.shape, mode="bilinear", align_corners=False)[0]
    walked = propagate(low**settings.power, boundary, settings.radius, settings.beta, settings.steps)
    walked = F.interpolate(walked[None], size, mode="bilinear", align_corners=False)[0]
    return (walked / (walked.max() + 1e-5)).cpu().numpy()


def load_irn(run, device):
    """The run's trained IRN in eval mode."""
    return load_model(build(run.trained_settings(IRN, "train_irn"), "none"), run / IRN, device)


@torch.inference_mode()
def measure_mean_displacement(images, dtype, dist, network):
    """Set IRN's mean displacement, which its loss leaves free, to that over the training images.

    images: iterable of (ID, uint8 [3,H,W]), this process's share. dtype: of the network, None: float32.
    """
    total, count = torch.zeros(2, device=dist.device), 0
    for _, image in progress_bar("train_irn: mean displacement", images, disable=not dist.main):
        with torch.autocast(dist.device.type, dtype, enabled=dtype is not None):
            displacement = network.displacement(network.encoder(unit_range(image[None].to(dist.device))))
        total += displacement.float().mean(dim=(0, 2, 3))
        count += 1
    total = dist.sum(torch.cat([total, total.new_tensor([count])]))
    network.mean_displacement.copy_(total[:2] / total[2])
