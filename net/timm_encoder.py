"""Encoders from timm (pip install timm), cut where the output of its `features_only` networks comes from."""

from collections import OrderedDict
from itertools import pairwise

import torch
from torch import nn

from errors import UserError, missing_package, nearest
from net.encoder import STRIDES, Parts

PROBE = 64  # pixels: each stride divides it


def timm_parts(name, weights, dilate_last):
    """timm:NAME or timm:NAME.TAG as `net.encoder.Parts`. weights: a file of it is one of timm's, or of this project."""
    network = timm_network(name, weights).eval()
    stages = _cut(network, name)
    if not dilate_last:
        _remove_dilation(stages[4])
    maps = _maps(stages, PROBE + 1)
    pad = [x.shape[-1] for x in maps] != [PROBE // stride + 1 for stride in STRIDES]
    channels = [x.shape[1] for x in maps]
    return Parts(stages, channels, *normalization(network), pad, filled=not weights.of_checkpoint)


def timm_network(name, weights):
    """timm's network of features at output stride 16, with the weights unless they are a checkpoint of this project."""
    known = find(name)
    import timm

    try:
        network = timm.create_model(known, pretrained=weights.pretrained, features_only=True, output_stride=16)
    except (AssertionError, NotImplementedError, TypeError) as error:  # of networks without this option
        raise UserError(f"backbone {name}: timm cannot build it with output stride 16, which is needed here") from error
    except Exception as error:  # a download fails in many ways
        raise UserError(
            f"backbone {name}: timm cannot load it ({' '.join(str(error).split())[:200]}): --weights none or a file "
            "needs no download"
        ) from error
    if not weights.of_checkpoint:
        fill(network, weights)
    return network


def find(name):
    """timm:NAME -> NAME. Raises UserError if timm is not installed or does not know it."""
    try:
        import timm
    except ImportError as error:
        raise missing_package(f"backbone {name}", "timm") from error
    known = name.removeprefix("timm:")
    base, _, tag = known.partition(".")
    if not timm.is_model(base):
        near = nearest(name, [f"timm:{each}" for each in timm.list_models()])
        raise UserError(f"backbone {name!r} is unknown to timm{near or ': see timm.list_models()'}")
    tags = [each.partition(".")[2] for each in timm.list_pretrained(base)]
    if tag and tag not in tags:
        raise UserError(f"backbone {name!r}: timm has weights {', '.join(tags) or 'of no kind'} of {base}, not {tag}")
    return known


def normalization(network):
    """(mean, std) that a network of timm was trained with."""
    return tuple(tuple(network.pretrained_cfg[key]) for key in ("mean", "std"))


def fill(network, weights):
    """Load a file of timm's classification network into that of features, which calls some tensors otherwise and lacks
    the head: what does not belong to one of its own layers is left out."""
    names = {flat(key): key for key in network.state_dict()}
    layers = tuple(f"{flat(name)}_" for name, _ in network.named_children())

    def change(key):
        return names.get(flat(key), key if flat(key).startswith(layers) else None)

    if weights.state is not None:
        weights.renamed(change).fill(network)


def flat(name):
    """`stages.0.conv` -> `stages_0_conv`: timm flattens the first levels of some networks' names."""
    return name.replace(".", "_")


@torch.no_grad()
def _cut(network, name):
    """The five stages of `net.encoder.Parts`. Raises UserError where timm's network has no such form."""
    try:
        stages = _stages(network)
        maps, expected = _maps(stages, PROBE), network(_image(PROBE))[-4:]
        fits = [PROBE // x.shape[-1] for x in maps] == list(STRIDES) and all(
            torch.allclose(ours, theirs, rtol=1e-4, atol=1e-4) for ours, theirs in zip(maps[1:], expected)
        )
    except Exception:  # features from within layers, layers that do not follow one another, or take no such image
        fits = False
    if not fits:
        raise UserError(f"backbone {name}: timm's network cannot be cut into five stages of strides {STRIDES}")
    return stages


def _stages(network):
    """timm's layers in groups: its last four features are the ends of stages 1-4."""
    ends = [flat(end) for end in network.feature_info.module_name()[-4:]]
    layers = {}
    for name, layer in network.named_children():
        if isinstance(layer, nn.Sequential) and any(end.startswith(f"{flat(name)}_") for end in ends):
            layers |= {f"{flat(name)}_{key}": part for key, part in layer.named_children()}
        else:
            layers[flat(name)] = layer
    order = list(layers)
    bounds = [order.index(end) + 1 for end in ends]
    groups = [{key: layers[key] for key in order[a:b]} for a, b in pairwise([0, bounds[0] - 1, *bounds])]
    stem = groups[0]

    def is_finer():
        return nn.Sequential(*stem.values())(_image(PROBE)).shape[-1] > PROBE // STRIDES[0]

    if is_finer():  # the first blocks of stage 1 are the stem's: they bring the stride to 4
        groups[1] = {f"{ends[0]}_{key}": block for key, block in layers[ends[0]].named_children()}
    while is_finer():
        key = next(iter(groups[1]))
        stem[key] = groups[1].pop(key)
    return [split_norm_act(nn.Sequential(OrderedDict(group))) for group in groups]


def _image(side):
    return torch.linspace(0, 1, 3 * side * side).view(1, 3, side, side)


@torch.no_grad()
def _maps(stages, side):
    maps = [_image(side)]
    for stage in stages:
        maps.append(stage(maps[-1]))
    return maps[1:]


def split_norm_act(module):
    """Batch norms that hold their activation become the two in a row, in place; returns the module.

    Whoever converts or folds batch norms (torch's SyncBatchNorm, `tool.checkpoint`) would lose the activation.
    """
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.BatchNorm2d) and hasattr(child, "act"):
                norm = nn.BatchNorm2d(child.num_features, child.eps, child.momentum, child.affine)
                norm.load_state_dict({key: value for key, value in child.state_dict().items() if "." not in key})
                norm.train(child.training)
                setattr(parent, name, nn.Sequential(OrderedDict(norm=norm, drop=child.drop, act=child.act)))
    return module


def _remove_dilation(stage):
    """timm dilates stage 4 in place of its stride; without, the stride is just removed."""
    for layer in stage.modules():
        if isinstance(layer, nn.Conv2d) and layer.dilation != (1, 1):
            if not isinstance(layer.padding, str):
                layer.padding = tuple(padding // by for padding, by in zip(layer.padding, layer.dilation))
            layer.dilation = (1, 1)
