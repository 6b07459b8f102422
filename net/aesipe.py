"""AE-SIPE: affinity enhanced image-specific prototypes (Im, An, Lee, JBE 29(1), 2024), on SIPE (Chen et al., 2022).

Shapes: K classes with background 0; h x w the grid of stride 16; all maps are [N,K,h,w].
"""

import torch
import torch.nn.functional as F
from torch import nn

from errors import UserError, nearest
from module.affinity import AE_SEQUENCE, AFFINITIES, refine_is_cam
from module.cam import inside_mask, normalize_cam, normalize_map, valid_mask
from module.prototype import class_prototypes, image_specific_cam
from module.structure import structure_seeds
from net.backbone import build_backbone
from net.encoder import trained_parameters

PROJECTIONS = (128, 128, 256, 256)  # channels of the hierarchical feature from stages 1-4


class AESIPE(nn.Module):
    """Encoder, classifier and the prototype branch; one network for training, CAM export and inspection.

    encoder: a `net.encoder.Encoder`. n_classes: K, with the background.
    structure_features: "hierarchical" (the paper's +HF) or "semantic" (stage 4, as SIPE).
    sequence: modules after the first IS-CAM; empty is SIPE, AE_SEQUENCE is AE-SIPE, others are Table 3's.
    normalization: of the last map, "minmax", "max" or "none". cam_background: see `module.cam.normalize_cam`.
    affinity: the module that the sequence's "pamr" stands for, of `module.affinity.AFFINITIES`. It learns nothing.
    Raises UserError for an affinity that is not there.
    """

    def __init__(
        self,
        encoder,
        n_classes,
        structure_features="hierarchical",
        sequence=AE_SEQUENCE,
        normalization="minmax",
        cam_background="all",
        affinity="pamr",
    ):
        super().__init__()
        if affinity not in AFFINITIES:
            raise UserError(
                f"affinity {affinity!r} is unknown{nearest(affinity, AFFINITIES)}: choose from {', '.join(AFFINITIES)}"
            )
        self.encoder = encoder
        self.projections = nn.ModuleList(
            nn.Conv2d(channels, width, 1, bias=False) for channels, width in zip(encoder.channels[1:], PROJECTIONS)
        )
        # No gradient comes back through the affinity module, so nothing trains them where its map is the last one.
        maps = [step for step in sequence if step != "prototype"]
        self.projections.requires_grad_(maps[-1:] != ["pamr"])
        self.classifier = nn.Conv2d(encoder.channels[-1], n_classes - 1, 1, bias=False)
        self.pamr = AFFINITIES[affinity]().requires_grad_(False)
        self.structure_features = structure_features
        self.sequence = tuple(sequence)
        self.normalization = normalization
        self.cam_background = cam_background

    def forward(self, image, labels, box=None, most=None):
        """One pass from the image to the last map.

        image: [N,3,H,W] RGB in [0,1]. labels: [N,K-1] in {0,1}.
        box: [N,4] int (top, left, bottom, right), where the crop shows the image; None if it has no padding.
        most: see `module.cam.present_classes`.
        Returns the dict of `localize` and `score` [N,K-1], the class logits.
        """
        logits, semantic, hierarchical = self.encode(image)
        grid = hierarchical.shape[2:]
        inside = image.new_ones(image.shape[0], *grid) if box is None else inside_mask(box, image.shape[2:], grid)
        maps = self.localize(logits, semantic, hierarchical, image, valid_mask(labels, inside), most)
        return {"score": logits.mean(dim=(2, 3)), **maps}

    def encode(self, image):
        """image [N,3,H,W] -> class logits [N,K-1,h,w], stage-4 feature, hierarchical feature [N,768,h,w]."""
        _, *stages = self.encoder(image)
        logits = self.classifier(stages[-1])
        grid = stages[2].shape[2:]
        # Detached: the projections train only themselves, never the encoder.
        levels = [F.normalize(projection(stage.detach()), dim=1) for projection, stage in zip(self.projections, stages)]
        hierarchical = torch.cat([_resize(level, grid) for level in levels], dim=1)
        return logits.float(), stages[-1].detach(), hierarchical.float()

    def localize(self, logits, semantic, hierarchical, image, valid, most=None):
        """From features to maps, in the order of the paper's method section and its figure 1. In float32.

        logits, semantic, hierarchical: of `encode`; summed over image and flipped image at export.
        image: [N,3,H,W] in [0,1], guides the affinity module. valid: [N,K,h,w], see `module.cam.valid_mask`. most: see
        `module.cam.present_classes`.
        Returns a dict: cam, is_cam [N,K,h,w] in [0,1]; seeds [N,K,h,w] one-hot; prototypes [N,K,768];
        ae_is_cam, the map after `sequence`, normalised (IS-CAM itself, normalised, if the sequence is empty);
        ae_seeds, the last seeds (those of the structure analysis if the sequence takes none).
        """
        with torch.autocast(logits.device.type, enabled=False):
            cam = normalize_cam(logits, valid, self.cam_background)
            structure = hierarchical if self.structure_features == "hierarchical" else semantic.float()
            seeds = structure_seeds(structure.detach(), cam.detach(), valid, most=most)
            prototypes = class_prototypes(hierarchical, seeds)
            is_cam = image_specific_cam(hierarchical, prototypes) * valid
            last, ae_seeds = refine_is_cam(
                hierarchical, is_cam, image.float(), valid, self.pamr, self.sequence, most=most
            )
            ae_is_cam = normalize_map(last, valid, self.normalization)
        return {
            "cam": cam,
            "seeds": seeds,
            "prototypes": prototypes,
            "is_cam": is_cam,
            "ae_seeds": seeds if ae_seeds is None else ae_seeds,
            "ae_is_cam": ae_is_cam,
        }

    def parameter_groups(self, lr, lr_new):
        """Groups for the optimiser: pre-trained layers at lr, new layers at lr_new (rates per step)."""
        return [
            {"params": trained_parameters(self.encoder), "lr": lr},
            {"params": trained_parameters(self, self.encoder), "lr": lr_new},
        ]


def aesipe_loss(output, labels):
    """Classification loss and general-specific consistency (GSC), weights 1 and 1.

    output: of AESIPE.forward. labels: [N,K-1] in {0,1}. Returns the scalars loss, cls and gsc.
    GSC is the mean absolute difference of CAM and the last map over all N*K*h*w entries; absent classes count as
    zeros. Gradients reach both maps.
    """
    cls = F.multilabel_soft_margin_loss(output["score"].float(), labels)
    gsc = (output["cam"] - output["ae_is_cam"]).abs().mean()
    return {"loss": cls + gsc, "cls": cls, "gsc": gsc}


def step_losses(criterion, network, batch):
    """The losses of a training batch: see `aesipe_loss`."""
    output = network(batch["image"], batch["labels"], batch["box"], batch.get("most"))
    return criterion(output, batch["labels"])


def build(settings, n_classes, weights):
    """settings: `tool.settings.TrainAesipe`. weights: see `build_backbone`. Returns (AESIPE, aesipe_loss)."""
    encoder = build_backbone(settings.backbone, weights, settings.frozen_stages, settings.batch_norm)
    model = AESIPE(
        encoder,
        n_classes,
        settings.structure_features,
        settings.sequence if settings.ae else (),
        settings.normalization,
        settings.cam_background,
        settings.affinity,
    )
    return model, aesipe_loss


def _resize(maps, size):
    if maps.shape[2:] == size:
        return maps
    return F.interpolate(maps, size, mode="bilinear", align_corners=False)
