"""Encoders from timm (pip install timm), cut where the output of its `features_only` networks comes from."""

import difflib
from collections import OrderedDict
from itertools import pairwise

import torch
from torch import nn

from errors import UserError
from net.encoder import IMAGENET_MEAN, IMAGENET_STD, STRIDES, Parts

PROBE = 64  # pixels: each stride divides it


def timm_parts(name, weights, dilate_last):
    """timm:NAME or timm:NAME.TAG as `net.encoder.Parts`. weights: a file of it is one of timm's, or of this project."""
    network, config = timm_network(name, weights)
    stages, channels = _cut(network, name)
    if not dilate_last:
        _remove_dilation(stages[4])
    mean, std = normalization(config)
    pad = [x.shape[-1] for x in _maps(stages, PROBE + 1)] != [PROBE // stride + 1 for stride in STRIDES]
    return Parts(stages, channels, mean, std, pad, filled=not weights.of_checkpoint)


def timm_network(name, weights):
    """(timm's network of features at output stride 16, its pretrained configuration or None)."""
    timm, (known, config) = import_timm(), find(name)
    if weights.pretrained and not (config and config.has_weights):
        raise UserError(f"backbone {name} has no pretrained weights in timm: give --weights none or a file")
    options = {"features_only": True, "output_stride": 16}
    try:
        network = timm.create_model(known, pretrained=weights.pretrained, **options)
    except (AssertionError, NotImplementedError, TypeError) as error:  # of networks without this option
        raise UserError(f"backbone {name}: timm cannot build it with output stride 16, which is needed here") from error
    except Exception as error:  # a download fails in many ways
        raise UserError(f"backbone {name}: timm cannot load it ({' '.join(str(error).split())[:200]})") from error
    if not weights.of_checkpoint:
        fill(network, weights)
    return network, config


def import_timm():
    """The package. Raises UserError if it is not installed."""
    try:
        import timm
    except ImportError as error:
        raise UserError("backbones of the form timm:NAME need the package timm: pip install timm") from error
    return timm


def find(name):
    """timm:NAME -> (NAME, timm's configuration of its pretrained weights or None). Raises UserError if unknown."""
    timm, known = import_timm(), name.removeprefix("timm:")
    base, _, tag = known.partition(".")
    if not timm.is_model(base):
        near = difflib.get_close_matches(base, timm.list_models(), n=1, cutoff=0)[0]
        raise UserError(f"backbone {name!r} is unknown to timm: did you mean timm:{near}?")
    tags = [each.partition(".")[2] for each in timm.list_pretrained(base)]
    if tag and tag not in tags:
        raise UserError(f"backbone {name!r}: timm has weights {', '.join(tags) or 'of no kind'} of {base}, not {tag}")
    return known, timm.get_pretrained_cfg(known, allow_unregistered=True)


def normalization(config):
    """(mean, std) of a pretrained configuration, ImageNet's where there is none."""
    return (tuple(config.mean), tuple(config.std)) if config else (IMAGENET_MEAN, IMAGENET_STD)


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
    """(the five stages of `net.encoder.Parts`, their channels). Raises UserError where timm's network has no such form.

    Its last four features are the ends of stages 1-4. That the stages give what timm gives is checked on an image.
    """
    expected = network.eval()(_image(PROBE))[-4:]
    ends, chain = [flat(end) for end in network.feature_info.module_name()[-4:]], _chain(network)
    order = list(chain)
    if len(ends) < 4 or not set(ends) <= chain.keys():
        raise UserError(f"backbone {name}: its features come from within its layers: it cannot be cut into stages")
    bounds = [order.index(end) for end in ends]
    stem, first = _until_stride_4(order[: bounds[0]], chain, ends[0])
    groups = [stem, first, *({key: chain[key] for key in order[a + 1 : b + 1]} for a, b in pairwise(bounds))]
    stages = [split_norm_act(nn.Sequential(OrderedDict(group))) for group in groups]
    try:
        maps = _maps(stages, PROBE)
        same = all(torch.allclose(ours, theirs, rtol=1e-4, atol=1e-4) for ours, theirs in zip(maps[1:], expected))
    except (RuntimeError, TypeError):
        same = False
    if not same:
        raise UserError(f"backbone {name}: its layers do not follow one another: it cannot be cut into stages")
    if [PROBE // x.shape[-1] for x in maps] != list(STRIDES):
        raise UserError(f"backbone {name}: its stages have other strides than {STRIDES}")
    return stages, [x.shape[1] for x in maps]


def _image(side):
    return torch.linspace(0, 1, 3 * side * side).view(1, 3, side, side)


@torch.no_grad()
def _maps(stages, side):
    maps = [_image(side)]
    for stage in stages:
        maps.append(stage(maps[-1]))
    return maps[1:]


def _chain(network):
    """{flat name: layer} in order; where features come from within a layer that is a list, the list's own."""
    ends, chain = [flat(end) for end in network.feature_info.module_name()], {}
    for name, layer in network.named_children():
        if isinstance(layer, nn.Sequential) and any(end.startswith(f"{flat(name)}_") for end in ends):
            chain |= {f"{flat(name)}_{key}": part for key, part in layer.named_children()}
        else:
            chain[flat(name)] = layer
    return chain


def _until_stride_4(before, chain, end):
    """(layers of the stem, those of stage 1), which ends with the layer `end`: its first blocks are the stem's where
    they are what brings the stride to 4."""
    stem, x = {key: chain[key] for key in before}, _image(PROBE)
    for layer in stem.values():
        x = layer(x)
    if x.shape[-1] <= PROBE // 4:
        return stem, {end: chain[end]}
    blocks = dict(chain[end].named_children())
    for key in list(blocks):
        if x.shape[-1] <= PROBE // 4:
            break
        stem[f"{end}_{key}"] = layer = blocks.pop(key)
        try:
            x = layer(x)
        except (RuntimeError, TypeError):  # not one after another: the comparison of the maps says so
            break
    return stem, {f"{end}_{key}": block for key, block in blocks.items()}


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
