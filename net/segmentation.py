"""Segmentation networks of other libraries, torchvision's and segmentation_models_pytorch's, in the form of ours."""

import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from errors import UserError, missing_package, nearest
from net.backbone import HEADS, RESNETS, torchvision_network
from net.encoder import IMAGENET_MEAN, IMAGENET_STD, fix_batch_norm, trained_parameters
from net.timm_encoder import fill, find, normalization, split_norm_act
from net.weights import Weights

STRIDE = 32  # the largest of smp's networks, of which an image's sides must be multiples
LEAST = 128  # pixels, below which PAN's deepest map vanishes


class Segmenter(nn.Module):
    """What every segmentation network is: `encoder`, a part of it, and forward(image [N,3,H,W] in [0,1]) -> [N,K,H,W],
    the class logits in float32."""

    @property
    def compiled(self):
        """The parts to compile."""
        return (self.encoder,)

    def parameter_groups(self, lr):
        """Groups for the optimiser: the encoder at lr, all else at 10 lr."""
        return [
            {"params": trained_parameters(self.encoder), "lr": lr},
            {"params": trained_parameters(self, self.encoder), "lr": 10 * lr},
        ]


class Foreign(Segmenter):
    """A network of another library behind the normalisation of its images.

    network: takes normalised images, whose sides are multiples of `multiple` and at least `least`. part: the name of
    its encoder. batch_norm: of the encoder, see `net.encoder.Encoder`.
    """

    def __init__(self, network, part, batch_norm, mean=IMAGENET_MEAN, std=IMAGENET_STD, multiple=1, least=1):
        super().__init__()
        self.network, self.part, self.batch_norm = network, part, batch_norm
        self.multiple, self.least = multiple, least
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    @property
    def encoder(self):
        return getattr(self.network, self.part)

    def train(self, mode=True):
        """As nn.Module.train, but a frozen batch norm of the encoder stays in eval mode."""
        super().train(mode)
        if self.batch_norm == "frozen":
            fix_batch_norm(self.encoder)
        return self

    def forward(self, image):
        """image: [N,3,H,W] RGB in [0,1]. Returns the class logits [N,K,H,W] in float32."""
        height, width = image.shape[2:]
        more = [torch.sym_max(self.least, side + -side % self.multiple) - side for side in (width, height)]
        x = F.pad((image - self.mean) / self.std, (0, more[0], 0, more[1]))
        logits = self.network(x)
        if isinstance(logits, dict):  # torchvision's
            logits = logits["out"]
        return logits.float()[..., :height, :width]


def torchvision_segmenter(name, settings, n_classes, weights):
    """torchvision:NAME, such as fcn_resnet50: the name says its encoder, whatever settings.backbone is."""
    known, weights = name.removeprefix("torchvision:"), Weights(weights)
    names = torchvision.models.list_models(module=torchvision.models.segmentation)
    if known not in names:
        near = nearest(known, names)
        raise UserError(f"network {name!r} is unknown{near}: torchvision has {', '.join(names)}")
    _refuse_unsuited(name, settings, weights)
    network = torchvision.models.get_model(known, weights=None, weights_backbone=None, num_classes=n_classes)
    if weights.text != "none":
        # Of fcn_resnet50, resnet50; its layers have the same names here, but for the list that mobilenets are.
        state = torchvision_network(known.partition("_")[2], weights).state_dict()
        state = {key.removeprefix("features."): value for key, value in state.items() if not key.startswith(HEADS)}
        network.backbone.load_state_dict(state)
    return Foreign(network, "backbone", settings.batch_norm)


def smp_segmenter(name, settings, n_classes, weights):
    """smp:NAME, such as Unet, of segmentation_models_pytorch on its own form of the encoder settings.backbone."""
    try:
        import segmentation_models_pytorch as smp
    except ImportError as error:
        raise missing_package(f"network {name}", "segmentation-models-pytorch") from error
    known, weights, backbone = name.removeprefix("smp:"), Weights(weights), settings.backbone
    names = {kind.__name__.lower(): kind for kind in smp.MODEL_ARCHITECTURES_MAPPING.values()}
    if known.lower() not in names:
        there = [kind.__name__ for kind in names.values()]
        raise UserError(f"network {name!r} is unknown{nearest(known, there)}: smp has {', '.join(there)}")
    _refuse_unsuited(name, settings, weights)
    of_timm = backbone.startswith("timm:")
    if not of_timm and backbone not in smp.encoders.encoders:
        there = [each for each in (*RESNETS, "mobilenet_v2") if each in smp.encoders.encoders]
        raise UserError(f"network {name} has no encoder {backbone}: choose from {', '.join(there)} or timm:NAME")
    encoder = f"tu-{find(backbone)}" if of_timm else backbone
    try:
        network = names[known.lower()](
            encoder_name=encoder,
            encoder_weights=(True if of_timm else "imagenet") if weights.pretrained else None,
            classes=n_classes,
        )
        _freeze_unused(network)
    except Exception as error:  # an encoder that does not fit, a download that fails
        first = " ".join(str(error).split())[:200]
        raise UserError(f"network {name} with backbone {backbone} cannot be built: {first}") from error
    if of_timm:
        fill(network.encoder.model, weights)
        statistics = normalization(network.encoder.model)
    else:
        weights.fill(network.encoder, HEADS)
        statistics = IMAGENET_MEAN, IMAGENET_STD
    return Foreign(split_norm_act(network), "encoder", settings.batch_norm, *statistics, STRIDE, LEAST)


def _freeze_unused(network):
    """Layers of an encoder that a network does not read, as PSPNet the last, get no gradient, and are not to: several
    processes would wait for it."""
    with torch.enable_grad():
        loss = network.eval()(torch.zeros(1, 3, LEAST, LEAST)).sum()
    parameters = list(network.parameters())
    for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters, allow_unused=True)):
        parameter.requires_grad_(gradient is not None)


def _refuse_unsuited(name, settings, weights):
    if settings.frozen_stages:
        raise UserError(f"network {name} trains all of its encoder: give --frozen_stages 0")
    if weights.of_checkpoint:
        raise UserError(
            f"network {name} cannot begin with an encoder of this project, such as {weights.text}: give imagenet, "
            "none, or a file of the encoder's library"
        )
