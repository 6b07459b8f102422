"""A training as its stage's script makes it: network, losses, optimiser and batches, for made-up images."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from data.loader import TrainingSet, training_loader
from data.transforms import CropTransform
from deeplab import model as deeplab
from net import aesipe, irn
from tool.trainer import make_optimizer, to_device, train_step

TRAINED = {"train_aesipe": "aesipe", "train_irn": "irn", "deeplab_train": "deeplab"}  # stage -> its checkpoint
PHOTOGRAPH = (375, 500)  # H, W
PRESENT = 4  # foreground classes of a made-up image: few photographs of VOC 2012 show more


@dataclass(frozen=True)
class Training:
    """losses: function (network, batch) -> dict of scalars. rates: of the network's parameter groups.
    transform: of the images. masked: whether a batch holds label maps."""

    network: nn.Module
    losses: Callable
    rates: tuple
    transform: CropTransform
    masked: bool

    def optimizer(self, settings, **how):
        return make_optimizer(self.network.parameter_groups(*self.rates), settings, **how)


def build_training(name, settings, n_classes):
    """name: of TRAINED. settings: of the stage. n_classes: K, with the background. The weights are drawn."""
    if name == "train_aesipe":
        network, criterion = aesipe.build(settings, n_classes, "none")
        losses, rates = partial(aesipe.step_losses, criterion), (settings.lr, settings.lr_new)
        return Training(
            network, losses, rates, CropTransform(settings.crop_size, long_side=settings.long_side), masked=False
        )
    if name == "train_irn":
        network, losses = irn.build(settings, "none"), partial(irn.step_losses, settings.radius)
    else:
        network, criterion = deeplab.build(settings, n_classes, "none")
        losses = partial(deeplab.step_losses, criterion)
    transform = CropTransform(settings.crop_size, scale=settings.scale)
    return Training(network, losses, (settings.lr,), transform, masked=True)


class _Photographs:
    """What `data.loader.TrainingSet` asks a data set for: photographs of noise that show the first classes."""

    def __init__(self, n_classes):
        self.n_classes = n_classes

    def size(self, image_id):
        return PHOTOGRAPH

    def image(self, image_id, at_least=None):
        return torch.randint(0, 256, (3, *PHOTOGRAPH), dtype=torch.uint8)

    def labels(self, image_id):
        labels = torch.zeros(self.n_classes - 1)
        labels[:PRESENT] = 1
        return labels

    def mask(self, image_id):
        rows = torch.arange(PHOTOGRAPH[0])[:, None] * (1 + min(PRESENT, self.n_classes - 1)) // PHOTOGRAPH[0]
        return rows.expand(PHOTOGRAPH).to(torch.uint8).numpy()


def made_up_batch(training, n_classes, n_images):
    """A batch as the stage's loader gives it."""
    photographs = _Photographs(n_classes)
    target = photographs.mask if training.masked else None
    images = TrainingSet(photographs, range(n_images), training.transform, seed=0, target=target)
    return next(iter(training_loader(images, n_images, steps=1, start=0, rank=0, world=1, workers=0)))


def run_steps(training, settings, batch, device, dtype, between=lambda: None):
    """Two training steps on one batch as the Trainer makes them; in the second the optimiser has its state.

    training: its network on the device, the batch not yet. between: called between the steps. Returns the optimiser.
    """
    # One parameter after the other holds no copy of all gradients, as the fused update of a GPU holds none.
    optimizer = training.optimizer(settings, foreach=False)
    scaler = torch.amp.GradScaler(device.type, enabled=False)  # which changes no tensor's size

    def step():
        train_step(training.network, training.losses, to_device(batch, device), optimizer, scaler, dtype, clip=1.0)

    step()
    between()
    step()
    return optimizer


def train_briefly(name, settings, n_classes, images, device, dtype):
    """Two steps of a network that is made for them: what a training holds at its peak, these hold."""
    training = build_training(name, settings, n_classes)
    training.network.to(device, memory_format=torch.channels_last).train()
    run_steps(training, settings, made_up_batch(training, n_classes, images), device, dtype)
