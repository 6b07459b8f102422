"""IRN: class boundaries and displacements to object centres from an encoder's maps (Ahn et al., CVPR 2019)."""

import torch
import torch.nn.functional as F
from torch import nn

from module.irn_loss import affinity_displacement_loss, irn_loss, pair_counts
from net.backbone import build_backbone
from net.encoder import trained_parameters

STRIDE = 4  # of the two fields


class IRN(nn.Module):
    """Inter-pixel relation network: two heads on the five maps of an encoder, which is frozen as published.

    encoder: a `net.encoder.Encoder`, frozen as far as it says itself; its batch norm keeps its statistics.
    kernel: of the heads' first convolutions. displacement: whether there is a head for it.
    mean_displacement: buffer [2], the mean (dy, dx) over the train set, which the loss leaves free since it only
    compares displacements: eval mode subtracts it.
    """

    def __init__(self, encoder, kernel=1, displacement=True):
        super().__init__()
        self.encoder = encoder.eval()
        self.boundary = BoundaryHead(encoder.channels, kernel)
        self.displacement = DisplacementHead(encoder.channels, kernel) if displacement else None
        self.register_buffer("mean_displacement", torch.zeros(2))

    def train(self, mode=True):
        """As nn.Module.train, but the encoder stays in eval mode."""
        super().train(mode)
        self.encoder.eval()
        return self

    def forward(self, image):
        """Boundary and displacement fields at stride 4, h x w = H/4 x W/4 rounded up.

        image: [N,3,H,W] RGB in [0,1], of any size. Returns a dict: boundary [N,1,h,w] in [0,1], 1 on a class boundary;
        displacement [N,2,h,w], (dy, dx) in pixels at stride 4, in eval mode less `mean_displacement`; None without
        its head.
        """
        maps = self.encoder(image)
        displacement = self.displacement(maps) if self.displacement else None
        if self.displacement and not self.training:
            displacement = displacement - self.mean_displacement[:, None, None]
        logits = self.boundary(maps)
        # In half precision a sure boundary would be 1 exactly, and its gradient 0.
        boundary = logits.to(torch.promote_types(logits.dtype, torch.float32)).sigmoid()
        return {"boundary": boundary, "displacement": displacement}

    def parameter_groups(self, lr):
        """Parameter groups for SGD: the boundary head at learning rate `lr`, what the encoder trains at lr / 10, all
        else at 10 lr."""
        groups = [
            {"params": trained_parameters(self.boundary), "lr": lr},
            {"params": trained_parameters(self, self.encoder, self.boundary), "lr": 10 * lr},
            {"params": trained_parameters(self.encoder), "lr": lr / 10},
        ]
        return [group for group in groups if group["params"]]


class BoundaryHead(nn.Module):
    """Five maps, each projected to 32 channels and upsampled to stride 4, to the logits of one boundary map."""

    def __init__(self, widths, kernel):
        super().__init__()
        self.projections = nn.ModuleList(_projection(width, 32, 4, kernel) for width in widths)
        self.classifier = nn.Conv2d(32 * len(widths), 1, 1)

    def forward(self, maps):
        """maps: the encoder's five. Returns [N,1,h,w] at the size of the first; the boundary is its sigmoid."""
        size = maps[0].shape[2:]
        projected = [
            _upsample(projection(x), factor, size).relu()
            for projection, x, factor in zip(self.projections, maps, (1, 1, 2, 4, 4))
        ]
        return self.classifier(torch.cat(projected, dim=1))


class DisplacementHead(nn.Module):
    """Five maps to two displacement components: stages 2-4 are joined at stride 8, then all at stride 4."""

    def __init__(self, widths, kernel):
        super().__init__()
        self.projections = nn.ModuleList(
            _projection(width, channels, groups, kernel)
            for width, channels, groups in zip(widths, (64, 128, 256, 256, 256), (8, 16, 16, 16, 16))
        )
        self.join_deep = _projection(3 * 256, 256, groups=16)
        self.join_all = _projection(64 + 128 + 256, 256, groups=16)
        self.regressor = nn.Conv2d(256, 2, 1, bias=False)

    def forward(self, maps):
        """maps: the encoder's five. Returns [N,2,h,w] in pixels, not centred, at the size of the first."""
        stem, stage1, stage2, stage3, stage4 = (projection(x) for projection, x in zip(self.projections, maps))
        deep = [stage2, *(_upsample(x, 2, stage2.shape[2:]) for x in (stage3, stage4))]
        deep = self.join_deep(torch.cat(deep, dim=1).relu())
        joined = torch.cat([stem, stage1, _upsample(deep, 2, stem.shape[2:])], dim=1).relu()
        return self.regressor(self.join_all(joined).relu())


def step_losses(radius, network, batch):
    """The losses of a training batch, whose `target` holds IR labels [N,H,W]. radius: of the pairs."""
    output = network(batch["image"])
    labels = _labels(batch)
    with torch.autocast(labels.device.type, enabled=False):
        terms = affinity_displacement_loss(**output, labels=labels, radius=radius, count=batch.get("count"))
        return {"loss": irn_loss(terms), **terms}


def count_pairs(radius, batch):
    """`count` of a `tool.trainer.Task`: the pairs of each kind that a batch's losses are means over, [3]."""
    return pair_counts(_labels(batch), radius)


def _labels(batch):
    """The IR labels of a batch at the stride of the fields."""
    return batch["target"][:, ::STRIDE, ::STRIDE]


def build(settings, weights):
    """settings: `tool.settings.TrainIrn`. weights: see `build_backbone`."""
    encoder = build_backbone(settings.backbone, weights, settings.frozen_stages)
    return IRN(encoder, settings.kernel, settings.displacement)


def _projection(in_channels, out_channels, groups, kernel=1):
    """A convolution, without the bias that the normalisation would remove, and group normalisation."""
    convolution = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.GroupNorm(groups, out_channels))


def _upsample(maps, factor, size):
    """Bilinear upsampling by the ratio of the strides, cut to `size`.

    Strided stages round sizes up, so the result may exceed the size; resizing to it would move the pixels off the
    places that they were computed at.
    """
    if factor > 1:
        maps = F.interpolate(maps, scale_factor=factor, mode="bilinear", align_corners=False)
    return maps[..., : size[0], : size[1]]
