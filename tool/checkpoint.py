"""Checkpoints: the result of a training stage, and the full state from which it goes on."""

from pathlib import Path

import torch
import yaml
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from errors import UserError
from tool.io import atomic


def save_result(path, model, settings):
    """The trained network as {"model": state dict}, and beside it, in .yaml, the settings that made it."""
    save_state(path, {"model": model.state_dict()})
    with atomic(Path(path).with_suffix(".yaml")) as temporary:
        temporary.write_text(yaml.safe_dump(settings, sort_keys=False))


def result_settings(path):
    """The settings of a finished result, or None if it is not finished."""
    record = Path(path).with_suffix(".yaml")
    return yaml.safe_load(record.read_text()) if record.exists() and Path(path).exists() else None


def trained_settings(path):
    """The settings of a finished result. Raises UserError if there is none."""
    record = result_settings(path)
    if record is None:
        raise UserError(f"{path}: is missing or unfinished: run the stage that trains it first")
    return record


def save_state(path, state):
    with atomic(path) as temporary:
        try:
            torch.save(state, temporary)
        except RuntimeError as error:  # torch's zip writer turns a full disk into this
            raise UserError(f"{path}: cannot be written: is the disk full?") from error


def load_state(path, device="cpu"):
    """The saved dict. Raises UserError if the file is missing or broken."""
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such checkpoint: run the stage that trains it first") from error
    except Exception as error:
        raise UserError(f"{path}: is no whole checkpoint ({type(error).__name__}): delete it") from error


def load_model(model, path, device):
    """Load a result into the network that its settings build, made ready for inference: see `for_inference`."""
    try:
        model.load_state_dict(load_state(path, device)["model"])
    except (RuntimeError, KeyError, TypeError) as error:
        first = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: does not fit the network of these settings: {first}") from error
    return for_inference(model, device)


def for_inference(model, device):
    """The network in eval mode on the device, in the form that is fastest there: see `fold_batch_norm`."""
    return fold_batch_norm(model.eval()).to(device, memory_format=torch.channels_last)


def fold_batch_norm(model):
    """Fold each batch norm into the convolution before it: with fixed statistics both are one affine map.

    model: in eval mode, batch norms registered right after the convolutions whose output they take, as in
    torchvision's networks. Changes the model in place and returns it; its outputs stay, up to rounding.
    """
    for parent in list(model.modules()):
        convolution = None
        for name, child in parent.named_children():
            if isinstance(child, nn.BatchNorm2d) and convolution is not None:
                setattr(parent, convolution, fuse_conv_bn_eval(getattr(parent, convolution), child))
                setattr(parent, name, nn.Identity())
            convolution = name if isinstance(child, nn.Conv2d) else None
    return model
