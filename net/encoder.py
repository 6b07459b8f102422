"""The encoder that every network has: a stem and four stages with output stride 16."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

STRIDES = (4, 4, 8, 16, 16)  # of the five maps
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Parts(NamedTuple):
    """What a builder of `net.backbone` makes an encoder from.

    stages: five modules, each of which takes the output of the one before: the stem (stride 4) and stages 1-4 (strides
        4, 8, 16, 16). channels: the widths of their maps.
    mean, std: of RGB in [0,1], by which the image is normalised before the stem.
    pad: whether the image is to be padded, since these stages round sizes down where others round them up.
    filled: whether the builder has put the weights into the stages.
    """

    stages: list
    channels: list
    mean: tuple = IMAGENET_MEAN
    std: tuple = IMAGENET_STD
    pad: bool = False
    filled: bool = False


class Encoder(nn.Module):
    """A classification network as five maps.

    parts: see `Parts`. frozen_stages: the stem and stages 1..frozen_stages get no gradient; 0 trains everything.
    batch_norm: "frozen" keeps the running statistics as they are and trains the affine part only; "train" is usual
        batch norm, for networks from scratch.
    """

    def __init__(self, parts, frozen_stages=2, batch_norm="frozen"):
        super().__init__()
        self.stages = nn.ModuleList(parts.stages)
        self.channels = parts.channels
        self.batch_norm = batch_norm
        self.pad = parts.pad
        self.frozen = frozen_stages + 1 if frozen_stages else 0
        self.stages[: self.frozen].requires_grad_(False)
        self.register_buffer("mean", torch.tensor(parts.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(parts.std).view(3, 1, 1), persistent=False)

    def train(self, mode=True):
        """As nn.Module.train, but batch norm that must keep its statistics stays in eval mode."""
        super().train(mode)
        fix_batch_norm(self.stages if self.batch_norm == "frozen" else self.stages[: self.frozen])
        return self

    def forward(self, image):
        """image: [N,3,H,W] RGB in [0,1]. Returns the list of five maps [N,channels[i],H/stride,W/stride], sizes
        rounded up."""
        height, width = image.shape[2:]
        x = (image - self.mean) / self.std
        if self.pad:
            x = F.pad(x, (0, -width % STRIDES[-1], 0, -height % STRIDES[-1]))
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        if self.pad:
            maps = [x[..., : -(-height // stride), : -(-width // stride)] for x, stride in zip(maps, STRIDES)]
        return maps


def fix_batch_norm(module):
    """Put every batch norm of a module into eval mode, in which its running statistics stay as they are."""
    for layer in module.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.eval()


def trained_parameters(module, *without):
    """The parameters of a module that get a gradient, in their order, less those of the modules `without`."""
    others = {id(parameter) for other in without for parameter in other.parameters()}
    return [parameter for parameter in module.parameters() if parameter.requires_grad and id(parameter) not in others]
