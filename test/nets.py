"""Networks for the tests of what is built from them, and what an encoder says to bad weights."""

from functools import cache

import pytest
import torch
from torch import nn

from errors import UserError
from module.cam import inside_mask, valid_mask
from net.aesipe import AESIPE
from net.backbone import build_backbone

LABELS = torch.tensor([[1.0, 0, 1, 0], [0, 1, 0, 0]])
BOX = torch.tensor([[0, 0, 97, 130], [32, 0, 97, 90]])


@cache
def _calibrated():
    """Weights with which a network of 5 classes tells positions apart as a trained one does.

    A plain random network sees all positions alike, and every seed is background. So batch norm gets the statistics of
    the example, and the 1x1 convolutions look past the mean of the stages they read.
    """
    torch.manual_seed(0)
    encoder = build_backbone("resnet18", "none", frozen_stages=0, batch_norm="train").train()
    with torch.no_grad():
        for _ in range(3):
            encoder(example_image())
        model = AESIPE(encoder.eval(), n_classes=5)
        _, *stages = encoder(example_image())
        for layer, stage in zip([*model.projections, model.classifier], [*stages, stages[-1]]):
            mean = nn.functional.normalize(stage.mean(dim=(0, 2, 3)), dim=0)
            weight = layer.weight[:, :, 0, 0]
            weight -= (weight @ mean)[:, None] * mean
    return model.state_dict()


def network(**settings):
    """A network of 5 classes with the weights of `_calibrated`, stages 3 and 4 to be trained, in eval mode."""
    model = AESIPE(build_backbone("resnet18", "none"), n_classes=5, **settings).eval()
    model.load_state_dict(_calibrated(), strict=False)  # an affinity module may have its own
    return model


def example_image(h=97, w=130):
    """Blobs of colour with noise."""
    generator = torch.Generator().manual_seed(3)
    blobs = torch.rand(2, 3, 5, 6, generator=generator)
    smooth = nn.functional.interpolate(blobs, (h, w), mode="bicubic", align_corners=True)
    return (smooth + 0.05 * torch.randn(2, 3, h, w, generator=generator)).clamp(0, 1)


def inputs(model):
    """What `localize` takes."""
    with torch.no_grad():
        return *model.encode(example_image()), example_image(), valid_mask(LABELS, inside_mask(BOX, (97, 130), (7, 9)))


def saved(path, content):
    torch.save(content, path)
    return str(path)


def refusal(name, weights="none"):
    """The message of the error that building the encoder raises: a line, which names the weights if they are a file."""
    with pytest.raises(UserError) as error:
        build_backbone(name, str(weights))
    message = str(error.value)
    assert "\n" not in message
    assert str(weights) in ("none", "imagenet") or str(weights) in message
    return message
