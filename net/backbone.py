"""Encoders from torchvision, cut into a stem and four stages with output stride 16."""

import hashlib
from http.client import HTTPException
from pathlib import Path

import torch
import torchvision
from torch import nn

from errors import UserError
from files import check_file

BACKBONES = ("resnet101", "resnet50", "resnet18", "mobilenet_v2")
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
HEADS = ("fc.", "classifier.")  # torchvision's ImageNet classifiers: not part of an encoder


class Encoder(nn.Module):
    """A torchvision classification network as five maps.

    stages: the stem (stride 4) and stages 1-4 (strides 4, 8, 16, 16). channels: widths of the five maps.
    frozen_stages: the stem and stages 1..frozen_stages get no gradient; 0 trains everything.
    batch_norm: "frozen" keeps the running statistics as they are and trains the affine part only; "train" is usual
        batch norm, for networks from scratch.
    """

    def __init__(self, stages, channels, frozen_stages=2, batch_norm="frozen"):
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.channels = channels
        self.batch_norm = batch_norm
        self.frozen = frozen_stages + 1 if frozen_stages else 0
        self.stages[: self.frozen].requires_grad_(False)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)

    def train(self, mode=True):
        """As nn.Module.train, but batch norm that must keep its statistics stays in eval mode."""
        super().train(mode)
        fixed = self.stages if self.batch_norm == "frozen" else self.stages[: self.frozen]
        for layer in fixed.modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                layer.eval()
        return self

    def forward(self, image):
        """image: [N,3,H,W] RGB in [0,1]. Returns the list of five maps [N,channels[i],H/stride,W/stride]."""
        x = (image - self.mean) / self.std
        maps = []
        for number, stage in enumerate(self.stages):
            with torch.set_grad_enabled(torch.is_grad_enabled() and number >= self.frozen):
                x = stage(x)
            maps.append(x)
        return maps


def build_backbone(name, weights="imagenet", frozen_stages=2, batch_norm="frozen", dilate_last=False):
    """Build an encoder.

    name: one of BACKBONES. weights: "imagenet" (torchvision's IMAGENET1K_V1, downloaded and cached by it), "none", or
    a file: a torchvision state dict, with or without its classifier, or a checkpoint of this project.
    dilate_last: dilate stage 4 by 2 in place of its stride, as DeepLabV3 does; else the stride is just removed.
    Raises UserError naming the first key that does not fit.
    """
    if name not in BACKBONES:
        raise UserError(f"backbone {name!r} is unknown: choose from {', '.join(BACKBONES)}")
    network = _torchvision_network(name, weights)
    state = None
    if weights not in ("imagenet", "none"):
        state = _read_state(weights)
        if not any(key.startswith("encoder.") for key in state):
            _load(network, {k: v for k, v in state.items() if not k.startswith(HEADS)}, weights, ignore=HEADS)
            state = None
    cut = _cut_mobilenet if name == "mobilenet_v2" else _cut_resnet
    stages, channels = cut(network, dilate_last)
    encoder = Encoder(stages, channels, frozen_stages, batch_norm)
    if state is not None:
        prefix = "encoder."
        _load(encoder, {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}, weights)
    return encoder


def _torchvision_network(name, weights):
    if weights != "imagenet":
        return torchvision.models.get_model(name, weights=None)
    url = torchvision.models.get_model_weights(name).IMAGENET1K_V1.url
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
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
    if not path.exists():
        return
    check_file(path)
    expected = path.stem.rsplit("-", 1)[-1]
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    if not digest.hexdigest().startswith(expected):
        raise UserError(
            f"{path}: its SHA-256 begins with {digest.hexdigest()[: len(expected)]}, not {expected}: it is "
            f"cut short or damaged: delete it and run this again, or put {url} there"
        )


def _read_state(path):
    check_file(path)
    if not Path(path).is_file():
        raise UserError(f"weights {path}: no such file (give imagenet, none, or a file)")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UserError(f"weights {path}: not a readable PyTorch state file ({type(error).__name__})") from error
    if isinstance(state, dict) and isinstance(state.get("model"), dict):
        state = state["model"]
    if not isinstance(state, dict) or not all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in state.items()
    ):
        raise UserError(f"weights {path}: holds no state dict of tensors")
    return state


def _load(module, state, path, ignore=()):
    wanted = {key: value for key, value in module.state_dict().items() if not key.startswith(tuple(ignore))}
    for key, value in wanted.items():
        if key.endswith("num_batches_tracked") and key not in state:
            continue  # files written before PyTorch 0.4.1 lack it, and nothing here reads it
        if key not in state:
            raise UserError(f"weights {path}: {key} is missing: is it of another backbone?")
        if state[key].shape != value.shape:
            raise UserError(
                f"weights {path}: {key} has shape {list(state[key].shape)}, not {list(value.shape)}: "
                "is it of another backbone?"
            )
    extra = next((key for key in state if key not in wanted), None)
    if extra is not None:
        raise UserError(f"weights {path}: {extra} is not a part of this backbone")
    module.load_state_dict(state, strict=False)


def _cut_resnet(network, dilate_last):
    stem = nn.Sequential(network.conv1, network.bn1, network.relu, network.maxpool)
    stages = [stem, network.layer1, network.layer2, network.layer3, network.layer4]
    width = network.fc.in_features
    _remove_stride(network.layer4, dilate_last)
    return stages, [64, width // 8, width // 4, width // 2, width]


def _cut_mobilenet(network, dilate_last):
    parts = network.features
    stages = [parts[:3], parts[3:4], parts[4:7], parts[7:14], parts[14:]]
    _remove_stride(stages[4], dilate_last)
    return stages, [24, 24, 32, 96, 1280]


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
            layer.padding = (2, 2)
