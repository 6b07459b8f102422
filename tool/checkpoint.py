"""Checkpoints: the result of a training stage, and the full states from which it continues."""

import hashlib
import json
import shutil
import subprocess
import zipfile
from functools import cache
from pathlib import Path

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from errors import UserError
from files import atomic, check_file
from tool.record import IN_CHECKPOINT

KEPT = 2  # newest states: should a disk damage the last one, there is the one before


def save_result(path, weights, record, **more):
    """The trained network as {"model": state dict, "revision"} and, in the same file, its record (`tool.record`).

    So no kill leaves one without the other. The record's `result` is a digest of the weights.
    """
    weights = {name: value.cpu() for name, value in weights.items()}
    save_state(path, {"model": weights, "revision": revision(), **more}, {**record, "result": tensors_digest(weights)})


def tensors_digest(tensors):
    """32 hexadecimal digits of the names and values of {name: CPU tensor}."""
    digest = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()[:32]


def save_state(path, state, record=None):
    """Write a dict for `load_state`; with a record, one that `tool.record.checkpoint_record` reads without torch."""
    with atomic(path) as temporary:
        try:
            with open(temporary, "wb") as file:  # by its name, torch would write that into the file
                torch.save(state, file)
        except RuntimeError as error:  # torch's zip writer turns a full disk into this
            raise UserError(f"{path}: cannot be written: is the disk full?") from error
        if record is not None:
            with zipfile.ZipFile(temporary, "a") as archive:
                archive.writestr(zipfile.ZipInfo(IN_CHECKPOINT), json.dumps(record))


def load_state(path, device="cpu"):
    """The saved dict. Raises UserError if the file is missing or not as it was written: every part has a checksum."""
    check_file(path)
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()  # torch.load passes over the checksums
            for item in archive.infolist():
                if item.external_attr & 0x10:  # a folder, for which torch.load hands out memory as it is
                    damaged = damaged or item.filename
        if damaged is not None:
            raise UserError(f"{path}: {damaged} has changed since it was written: delete it")
        return torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such checkpoint: run the stage that trains it first") from error
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{path}: is no whole checkpoint ({type(error).__name__}): delete it") from error


class StateFolder:
    """The full states of one training, a file a step: the newest KEPT and the best.

    path: the folder. best: {"step", "score"} of the state with the highest score so far, None before there is one.
    """

    def __init__(self, path):
        self.path, self.best = Path(path), None

    def steps(self):
        """The steps of the states that are there, in order."""
        return sorted(int(path.stem) for path in self.path.glob("*.pt") if path.stem.isdigit())

    def file(self, step):
        return self.path / f"{step:08d}.pt"

    def is_best(self, score):
        """Whether a score, None for none, is higher than all before it."""
        return score is not None and (self.best is None or score > self.best["score"])

    def save(self, step, state, score=None):
        """Write the state of a step, then remove those that it makes superfluous. score: the higher the better."""
        if self.is_best(score):
            self.best = {"step": step, "score": score}
        state = {**state, "step": step, "score": score, "best": self.best, "revision": revision()}
        save_state(self.file(step), state)
        keep = {*self.steps()[-KEPT:], *([self.best["step"]] if self.best else [])}
        for old in set(self.steps()) - keep:
            self.file(old).unlink(missing_ok=True)

    def newest(self, device):
        """The newest state that is whole, None if there is no state at all. Raises UserError if none is whole."""
        damage = None
        for step in reversed(self.steps()):
            try:
                state = load_state(self.file(step), device)
                if not isinstance(state, dict) or not {"model", "step", "record", "best", "revision"} <= state.keys():
                    raise UserError(f"{self.file(step)}: is no training state of this version: delete it")
            except UserError as error:
                damage = error
                print(f"{error}; continuing from the state before it", flush=True)
                continue
            self.best = state["best"]
            return state
        if damage is not None:
            raise UserError(f"{self.path}: holds no whole state: delete it to train anew")
        return None

    def clear(self):
        """Remove all states, and what a killed process left of one."""
        if self.path.exists():
            shutil.rmtree(self.path)


@cache
def revision():
    """The code's git revision, with -dirty if files differ from it; None outside a git checkout."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    try:
        return subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10, check=True
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


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
            if type(child) is nn.BatchNorm2d and convolution is not None:  # other kinds may do more
                setattr(parent, convolution, fuse_conv_bn_eval(getattr(parent, convolution), child))
                setattr(parent, name, nn.Identity())
            convolution = name if type(child) is nn.Conv2d else None
    return model
