"""Segmentation networks by name; the method's is DeepLabV3 (Chen et al., 2017): an encoder with a dilated last stage
and torchvision's ASPP head."""

import torch.nn.functional as F
from torchvision.models.segmentation.deeplabv3 import DeepLabHead

from conventions import IGNORE
from errors import UserError, nearest
from net.backbone import build_backbone
from net.segmentation import Segmenter, smp_segmenter, torchvision_segmenter

ATROUS_RATES = (6, 12, 18)  # for output stride 16


class DeepLabV3(Segmenter):
    """encoder: a `net.encoder.Encoder` built with dilate_last. n_classes: K, with the background."""

    def __init__(self, encoder, n_classes):
        super().__init__()
        self.encoder = encoder
        self.head = DeepLabHead(encoder.channels[-1], n_classes, ATROUS_RATES)

    @property
    def compiled(self):
        return (self.encoder, self.head)

    def forward(self, image):
        """image: [N,3,H,W] RGB in [0,1]. Returns the class logits [N,K,H,W] in float32."""
        logits = self.head(self.encoder(image)[-1])
        return F.interpolate(logits.float(), image.shape[2:], mode="bilinear", align_corners=False)


# Name -> class of a `Segmenter` that is made of (encoder, n_classes). tool/settings.py lists the names.
NETWORKS = {"deeplabv3": DeepLabV3}
LIBRARIES = {"torchvision": torchvision_segmenter, "smp": smp_segmenter}  # of names of the form torchvision:NAME


def segmentation_loss(logits, target, count=None):
    """Mean cross entropy over the pixels that are not 255.

    logits: [N,K,H,W]. target: [N,H,W] integers. count: what the sum is divided by in place of the number of those
    pixels. One row a pixel, since the loss over maps has no deterministic algorithm on a GPU; rows of channels_last
    logits need no copy. Each row has its own loss, since one kernel that adds them up runs on a single block of a GPU.
    """
    rows, target = logits.permute(0, 2, 3, 1).flatten(0, 2), target.flatten().long()
    losses = F.cross_entropy(rows, target, ignore_index=IGNORE, reduction="none")
    pixels = (target != IGNORE).sum() if count is None else count
    return losses.sum() / pixels.clamp_min(1e-5)  # where no pixel has a class, the loss is 0 and not 0 / 0


def count_pixels(batch):
    """`count` of a `tool.trainer.Task`: the pixels that a batch's loss is the mean over."""
    return (batch["target"] != IGNORE).sum()


def step_losses(criterion, network, batch):
    return {"loss": criterion(network(batch["image"]), batch["target"], batch.get("count"))}


def build(settings, n_classes, weights):
    """settings: `tool.settings.DeeplabTrain`. weights: see `build_backbone`. Returns (`Segmenter`, segmentation_loss).

    Raises UserError for a network that is unknown or does not fit the other settings.
    """
    name, library = settings.network, settings.network.partition(":")[0]
    if name in NETWORKS:
        encoder = build_backbone(
            settings.backbone, weights, settings.frozen_stages, settings.batch_norm, dilate_last=True
        )
        return NETWORKS[name](encoder, n_classes), segmentation_loss
    if library not in LIBRARIES:
        near, there = nearest(name, NETWORKS), ", ".join(NETWORKS)
        raise UserError(f"network {name!r} is unknown{near}: choose from {there}, torchvision:NAME or smp:NAME")
    return LIBRARIES[library](name, settings, n_classes, weights), segmentation_loss
