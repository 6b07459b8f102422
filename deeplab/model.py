"""DeepLabV3 (Chen et al., 2017): an encoder with a dilated last stage and torchvision's ASPP head."""

import torch.nn.functional as F
from torch import nn
from torchvision.models.segmentation.deeplabv3 import DeepLabHead

from conventions import IGNORE
from net.backbone import build_backbone

ATROUS_RATES = (6, 12, 18)  # for output stride 16


class DeepLabV3(nn.Module):
    """encoder: a `net.backbone.Encoder` built with dilate_last. n_classes: K, with the background."""

    def __init__(self, encoder, n_classes):
        super().__init__()
        self.encoder = encoder
        self.head = DeepLabHead(encoder.channels[-1], n_classes, ATROUS_RATES)

    def forward(self, image):
        """image: [N,3,H,W] RGB in [0,1]. Returns the class logits [N,K,H,W] in float32."""
        logits = self.head(self.encoder(image)[-1])
        return F.interpolate(logits.float(), image.shape[2:], mode="bilinear", align_corners=False)

    def parameter_groups(self, lr, head_factor=10):
        """Groups for the optimiser: the encoder at lr, the head at head_factor * lr."""
        encoder = [parameter for parameter in self.encoder.parameters() if parameter.requires_grad]
        return [{"params": encoder, "lr": lr}, {"params": list(self.head.parameters()), "lr": head_factor * lr}]


def segmentation_loss(logits, target):
    """Mean cross entropy over the pixels that are not 255.

    logits: [N,K,H,W]. target: [N,H,W] integers. One row a pixel, since the loss over maps has no deterministic
    algorithm on a GPU; rows of channels_last logits need no copy.
    """
    return F.cross_entropy(logits.permute(0, 2, 3, 1).flatten(0, 2), target.flatten().long(), ignore_index=IGNORE)


def step_losses(criterion, network, batch):
    return {"loss": criterion(network(batch["image"]), batch["target"])}


def build(settings, n_classes, weights):
    """settings: `tool.settings.DeeplabTrain`. weights: see `build_backbone`. Returns (DeepLabV3, segmentation_loss)."""
    encoder = build_backbone(settings.backbone, weights, settings.frozen_stages, settings.batch_norm, dilate_last=True)
    return DeepLabV3(encoder, n_classes), segmentation_loss
