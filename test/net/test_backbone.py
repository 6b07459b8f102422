"""The encoders that there are: five maps each, stages that stay as they are, and those of one's own."""

import re
import sys

import pytest
import torch
import torchvision
from nets import refusal, saved
from scripts import error_lines, run
from torch import nn

from errors import UserError
from net.backbone import BUILDERS, build_backbone
from net.encoder import Parts
from tool.settings import BACKBONES, Backbone
from tool.values import read

CHANNELS = {
    "resnet101": [64, 256, 512, 1024, 2048],
    "resnet50": [64, 256, 512, 1024, 2048],
    "resnet18": [64, 64, 128, 256, 512],
    "mobilenet_v2": [24, 24, 32, 96, 1280],
    "resnext50_32x4d": [64, 256, 512, 1024, 2048],
    "mobilenet_v3_large": [24, 24, 40, 112, 960],
    "mobilenet_v3_small": [16, 16, 24, 48, 576],
}
DILATED = {"resnet18": 3, "mobilenet_v2": 3}  # 3x3 convs after the one with the stride


@pytest.mark.parametrize("name", CHANNELS)
def test_strides_and_channels(name):
    encoder = build_backbone(name, "none").eval()
    with torch.no_grad():
        maps = encoder(torch.rand(1, 3, 49, 66))
    expected = [
        (1, width, -(-49 // stride), -(-66 // stride)) for width, stride in zip(CHANNELS[name], (4, 4, 8, 16, 16))
    ]
    assert [tuple(x.shape) for x in maps] == expected and encoder.channels == CHANNELS[name]


@pytest.mark.parametrize("name", DILATED)
def test_dilating_the_last_stage_keeps_sizes_and_weights(name):
    plain, dilated = (build_backbone(name, "none", dilate_last=dilate).eval() for dilate in (False, True))
    dilated.load_state_dict(plain.state_dict())
    image = torch.rand(1, 3, 49, 66)
    with torch.no_grad():
        plain_maps, dilated_maps = plain(image), dilated(image)
    assert dilated_maps[4].shape == plain_maps[4].shape and not torch.equal(dilated_maps[4], plain_maps[4])
    assert all(torch.equal(x, y) for x, y in zip(plain_maps[:4], dilated_maps[:4]))
    convolutions = [layer for layer in dilated.stages[4].modules() if isinstance(layer, nn.Conv2d)]
    assert [c.dilation for c in convolutions if c.kernel_size == (3, 3)] == [(1, 1)] + [(2, 2)] * DILATED[name]
    others = [*plain.modules(), *dilated.stages[:4].modules(), *(c for c in convolutions if c.kernel_size == (1, 1))]
    assert all(layer.dilation == (1, 1) for layer in others if isinstance(layer, nn.Conv2d))


def test_dilated_resnet_is_that_of_torchvision():
    """torchvision has the same dilated network: it must give the same maps with the same weights."""
    torch.manual_seed(0)
    network = torchvision.models.resnet50(replace_stride_with_dilation=[False, False, True]).eval()
    encoder = build_backbone("resnet50", "none", dilate_last=True).eval()
    for number, part in enumerate((network.layer1, network.layer2, network.layer3, network.layer4), start=1):
        encoder.stages[number].load_state_dict(part.state_dict())
    encoder.stages[0][0].load_state_dict(network.conv1.state_dict())
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        x = network.maxpool(network.relu(network.bn1(network.conv1((image - encoder.mean) / encoder.std))))
        expected = network.layer4(network.layer3(network.layer2(network.layer1(x))))
        torch.testing.assert_close(encoder(image)[4], expected)


def test_stages_are_the_layers_of_torchvision_on_a_normalised_image(resnet18, tmp_path):
    encoder = build_backbone("resnet18", saved(tmp_path / "w.pth", resnet18.state_dict())).eval()
    image = torch.rand(2, 3, 64, 80)
    x = torch.stack(
        [(image[:, c] - mean) / std for c, (mean, std) in enumerate([(0.485, 0.229), (0.456, 0.224), (0.406, 0.225)])],
        dim=1,
    )
    resnet18.layer4[0].conv1.stride = resnet18.layer4[0].downsample[0].stride = (1, 1)
    try:
        expected = [resnet18.maxpool(resnet18.relu(resnet18.bn1(resnet18.conv1(x))))]
        for layer in (resnet18.layer1, resnet18.layer2, resnet18.layer3, resnet18.layer4):
            expected.append(layer(expected[-1]))
    finally:
        resnet18.layer4[0].conv1.stride = resnet18.layer4[0].downsample[0].stride = (2, 2)
    for got, want in zip(encoder(image), expected):
        torch.testing.assert_close(got, want)


@pytest.mark.parametrize("frozen", [0, 2, 4])
def test_frozen_stages_get_no_gradient_and_the_others_do(frozen):
    encoder = build_backbone("resnet18", "none", frozen_stages=frozen).train()
    last = encoder(torch.rand(2, 3, 32, 32))[4]
    assert last.requires_grad == (frozen < 4)
    if last.requires_grad:
        last.sum().backward()
    for number, stage in enumerate(encoder.stages):
        trains = frozen == 0 or number > frozen
        for parameter in stage.parameters():
            assert parameter.requires_grad == trains
            assert (parameter.grad is not None) == trains


@pytest.mark.parametrize(
    "batch_norm, frozen, changed",
    [("frozen", 2, []), ("frozen", 0, []), ("train", 2, [3, 4]), ("train", 0, [0, 1, 2, 3, 4])],
)
def test_batch_norm_statistics_change_only_where_they_train(batch_norm, frozen, changed):
    encoder = build_backbone("resnet18", "none", frozen, batch_norm).train()
    before = {name: value.clone() for name, value in encoder.named_buffers()}
    affine = encoder.stages[4][0].bn1.weight.clone()
    optimizer = torch.optim.SGD([p for p in encoder.parameters() if p.requires_grad], lr=0.1)
    encoder(torch.rand(2, 3, 32, 32))[4].square().mean().backward()
    optimizer.step()
    moved = {int(name.split(".")[1]) for name, value in encoder.named_buffers() if not torch.equal(value, before[name])}
    assert sorted(moved) == changed
    assert not torch.equal(encoder.stages[4][0].bn1.weight, affine)  # the affine part trains either way


def test_eval_after_train_leaves_no_layer_in_train_mode():
    encoder = build_backbone("resnet18", "none", batch_norm="train").train().eval()
    assert not any(module.training for module in encoder.modules())


def test_settings_list_the_names_that_can_be_built():
    """They are listed there too since an unknown one is refused before torch is imported."""
    assert set(BACKBONES) == set(BUILDERS)


def test_unknown_backbone_is_refused_with_the_nearest_name():
    with pytest.raises(UserError, match="'resnet5' is unknown: did you mean resnet50.*resnet101"):
        build_backbone("resnet5", "none")


def test_a_script_refuses_an_unknown_backbone_before_any_heavy_import():
    done = run(sys.executable, "-X", "importtime", "train_aesipe.py", "--backbone", "resnet5")
    assert done.returncode == 2 and "did you mean resnet50?" in error_lines(done.stderr)[0]
    assert not re.search(r"\| +torch$", done.stderr, re.MULTILINE)
    with pytest.raises(ValueError, match="must be one of resnet101"):
        read(Backbone, "timm:")


def tiny(name, weights, dilate_last):
    """A builder as docs/extending.md has one, without weights of its own."""
    widths = [3, 4, 4, 6, 8, 8]
    strides = (4, 1, 2, 2, 1)
    stages = [nn.Conv2d(a, b, 3, s, 1) for a, b, s in zip(widths, widths[1:], strides)]
    return Parts(stages, widths[1:])


def test_a_builder_that_does_not_read_weights_cannot_pass_over_them(monkeypatch, tmp_path):
    monkeypatch.setitem(BUILDERS, "tiny", tiny)
    with pytest.raises(UserError, match="tiny has no ImageNet weights: give --weights none or a file"):
        build_backbone("tiny", "imagenet")
    encoder = build_backbone("tiny", "none")
    for prefix in ("", "encoder."):
        state = {prefix + key: value for key, value in encoder.state_dict().items()}
        loaded = build_backbone("tiny", saved(tmp_path / "w.pth", state))
        assert torch.equal(loaded.stages[4].weight, encoder.stages[4].weight)
    refusal("tiny", saved(tmp_path / "w.pth", {"stages.0.weight": torch.zeros(1)}))


def test_dilated_5x5_convolutions_keep_the_size():
    encoder = build_backbone("mobilenet_v3_large", "none", dilate_last=True).eval()
    wide = [c for c in encoder.stages[4].modules() if isinstance(c, nn.Conv2d) and c.kernel_size == (5, 5)]
    assert [(c.dilation, c.padding) for c in wide] == [((1, 1), (2, 2)), ((2, 2), (4, 4)), ((2, 2), (4, 4))]
    with torch.no_grad():
        maps = encoder(torch.rand(1, 3, 65, 97))
    assert maps[4].shape[2:] == maps[3].shape[2:]
