"""Encoders by name: torchvision's, timm's, and whatever is added to BUILDERS."""

import hashlib
from http.client import HTTPException
from pathlib import Path

import torch
import torchvision
from torch import nn

from errors import UserError, nearest
from files import check_file
from net.encoder import Encoder, Parts
from net.weights import Weights

HEADS = ("fc.", "classifier.")  # torchvision's ImageNet classifiers: not part of an encoder
RESNETS = torchvision.models.list_models(torchvision.models, include="*resne*")
# Where stages 1-4 begin in torchvision's list `features`, and the widths of the five maps.
MOBILENETS = {
    "mobilenet_v2": ((3, 4, 7, 14), [24, 24, 32, 96, 1280]),
    "mobilenet_v3_large": ((3, 4, 7, 13), [24, 24, 40, 112, 960]),
    "mobilenet_v3_small": ((2, 2, 4, 9), [16, 16, 24, 48, 576]),  # one layer of stride 4: stage 1 is the stem's map
}


def build_backbone(name, weights="imagenet", frozen_stages=2, batch_norm="frozen", dilate_last=False):
    """Build an encoder.

    name: one of BUILDERS, or timm:NAME for a network of timm. weights: "imagenet" (the library's own, downloaded and
    cached by it), "none", or a file: a state dict of the library, with or without its classifier, or a checkpoint of
    this project.
    dilate_last: dilate stage 4 by 2 in place of its stride, as DeepLabV3 does; else the stride is just removed.
    Raises UserError for an unknown name, and naming the first key of the file that does not fit.
    """
    build = BUILDERS.get(name)
    if name.startswith("timm:"):
        from net.timm_encoder import timm_parts as build
    elif build is None:
        raise UserError(f"backbone {name!r} is unknown{nearest(name, BUILDERS)}: there are {', '.join(BUILDERS)}")
    weights = Weights(weights)
    parts = build(name, weights, dilate_last)
    if weights.pretrained and not parts.filled:
        raise UserError(f"backbone {name} has no ImageNet weights: give --weights none or a file")
    encoder = Encoder(parts, frozen_stages, batch_norm)
    if not parts.filled:
        weights.of_encoder().fill(encoder)
    return encoder


def torchvision_network(name, weights):
    """torchvision's classification network with the weights, unless they are a checkpoint of this project."""
    if not weights.pretrained:
        network = torchvision.models.get_model(name, weights=None)
        if not weights.of_checkpoint:
            weights.fill(network, HEADS)
        return network
    url = torchvision.models.get_model_weights(name).IMAGENET1K_V1.url
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
    if path.exists():
        _check_hash(path, url)
    try:
        return torchvision.models.get_model(name, weights="IMAGENET1K_V1")
    except (OSError, RuntimeError, HTTPException) as error:  # no connection; a checksum that fails
        raise UserError(
            f"ImageNet weights of {name} cannot be downloaded ({' '.join(str(error).split())}): fetch "
            f"{url} on another machine and put it into {path.parent} as {path.name}"
        ) from error


def _check_hash(path, url):
    """torchvision's file names end in the first digits of their SHA-256, which it checks only when it downloads."""
    check_file(path)
    expected = path.stem.rsplit("-", 1)[-1]
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()[: len(expected)]
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    if found != expected:
        raise UserError(
            f"{path}: its SHA-256 begins with {found}, not {expected}: it is cut short or damaged: delete it and run "
            f"this again, or put {url} there"
        )


def _resnet(name, weights, dilate_last):
    network = torchvision_network(name, weights)
    stem = nn.Sequential(network.conv1, network.bn1, network.relu, network.maxpool)
    width = network.fc.in_features
    _remove_stride(network.layer4, dilate_last)
    return Parts(
        [stem, network.layer1, network.layer2, network.layer3, network.layer4],
        [64, width // 8, width // 4, width // 2, width],
        filled=not weights.of_checkpoint,
    )


def _mobilenet(name, weights, dilate_last):
    layers, (starts, channels) = torchvision_network(name, weights).features, MOBILENETS[name]
    stages = [layers[start:end] for start, end in zip((0, *starts), (*starts, len(layers)))]
    _remove_stride(stages[4], dilate_last)
    return Parts(stages, channels, filled=not weights.of_checkpoint)


def _remove_stride(stage, dilate):
    """Output stride 32 -> 16. Dilating the later convolutions as well keeps their receptive field (DeepLab)."""
    for layer in stage.modules():
        if not isinstance(layer, nn.Conv2d):
            continue
        strided = layer.stride != (1, 1)
        layer.stride = (1, 1)
        # As torchvision does it, the block that lost its stride keeps its own dilation; those after it double.
        if dilate and not strided and layer.kernel_size != (1, 1):
            layer.dilation = (2, 2)
            layer.padding = tuple(side - 1 for side in layer.kernel_size)


# Name -> function (name, `net.weights.Weights`, dilate_last) -> `net.encoder.Parts`. tool/settings.py lists the names.
BUILDERS = {**dict.fromkeys(RESNETS, _resnet), **dict.fromkeys(MOBILENETS, _mobilenet)}
