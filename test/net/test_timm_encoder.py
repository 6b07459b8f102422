import sys

import pytest
import torch
from nets import refusal, saved
from torch import nn

from net.aesipe import AESIPE, aesipe_loss
from net.backbone import build_backbone
from net.encoder import fix_batch_norm
from net.irn import IRN
from tool.checkpoint import for_inference

timm = pytest.importorskip("timm")

# Families: ResNets of several forms, networks of blocks in lists, with norm and activation in one, without batch norm.
FAMILIES = ("resnetaa34d", "resnest14d", "mobilenetv3_small_100", "efficientnet_b0", "regnetx_002", "convnext_atto")


def trained_like(encoder):
    """Batch norm statistics as after training, where forgetting an activation or a norm shows."""
    generator = torch.Generator().manual_seed(1)
    for layer in encoder.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.copy_(0.2 * torch.randn(layer.num_features, generator=generator))
            layer.running_var.copy_(0.5 + torch.rand(layer.num_features, generator=generator))
    return encoder.eval()


@pytest.fixture(scope="module", params=FAMILIES)
def encoder(request):
    torch.manual_seed(0)
    return trained_like(build_backbone(f"timm:{request.param}", "none"))


@pytest.mark.parametrize("size", [(64, 64), (97, 130)])
def test_five_maps_at_the_strides_of_all_encoders(encoder, size):
    with torch.no_grad():
        maps = encoder(torch.rand(2, 3, *size))
    expected = [
        (2, width, -(-size[0] // stride), -(-size[1] // stride))
        for width, stride in zip(encoder.channels, (4, 4, 8, 16, 16))
    ]
    assert [tuple(x.shape) for x in maps] == expected
    assert not any(c.dilation != (1, 1) for c in encoder.modules() if isinstance(c, nn.Conv2d))


def test_images_are_normalised_as_the_network_of_timm_was_trained():
    encoder = build_backbone("timm:tf_efficientnet_lite0", "none")
    assert encoder.mean.flatten().tolist() == encoder.std.flatten().tolist() == [0.5] * 3


@pytest.mark.parametrize("name", FAMILIES)
def test_the_stages_are_those_of_timms_network_on_a_normalised_image(name, tmp_path):
    """With weights of a file of its classification network, whose tensors are called otherwise in places. The last
    stage, which is dilated, is compared where it is built."""
    torch.manual_seed(2)
    theirs = timm.create_model(name).eval()
    encoder = build_backbone(f"timm:{name}", saved(tmp_path / "w.pth", theirs.state_dict()), dilate_last=True).eval()
    image = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        maps = encoder(image)
        config = theirs.pretrained_cfg
        mean, std = (torch.tensor(config[key]).view(3, 1, 1) for key in ("mean", "std"))
        expected = theirs.forward_intermediates((image - mean) / std, intermediates_only=True)[-4:]
    for ours, wanted in zip(maps[1:4], expected):
        torch.testing.assert_close(ours, wanted, rtol=1e-3, atol=1e-4)
    assert maps[4].shape[2:] == (4, 6)


@pytest.mark.parametrize("name", ["resnest14d", "efficientnet_b0", "convnext_atto"])
def test_what_is_frozen_stays_and_the_rest_trains(name):
    torch.manual_seed(0)
    encoder = build_backbone(f"timm:{name}", "none", frozen_stages=2).train()
    statistics = {key: value.clone() for key, value in encoder.named_buffers()}
    encoder(torch.rand(2, 3, 64, 64))[4].square().mean().backward()
    assert all(torch.equal(value, statistics[key]) for key, value in encoder.named_buffers())
    for number, stage in enumerate(encoder.stages):
        assert all((p.grad is not None) == (number > 2) for p in stage.parameters())
    everything = build_backbone(f"timm:{name}", "none", 0, "train").train()
    assert not any(isinstance(layer, nn.BatchNorm2d) and not layer.training for layer in everything.modules())
    fix_batch_norm(everything)
    assert not any(isinstance(layer, nn.BatchNorm2d) and layer.training for layer in everything.modules())


def test_folded_batch_norms_and_those_of_several_processes_keep_every_map(encoder):
    image = torch.rand(1, 3, 65, 81)
    with torch.no_grad():
        expected = encoder(image)
        synchronised = nn.SyncBatchNorm.convert_sync_batchnorm(encoder).eval()
        state = encoder.state_dict()
        assert synchronised.state_dict().keys() == state.keys()
        folded = for_inference(encoder, torch.device("cpu"))
        for before, after in zip(expected, folded(image)):
            assert (after - before).abs().max() <= 1e-4 * before.abs().max()


def test_a_batch_norm_with_its_activation_becomes_the_two():
    encoder = build_backbone("timm:efficientnet_b0", "none")
    norms = [layer for layer in encoder.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert norms and {type(layer) for layer in norms} == {nn.BatchNorm2d}


def test_networks_train_a_step_and_checkpoints_fit_again(tmp_path):
    torch.manual_seed(0)
    encoder = build_backbone("timm:resnet18", "none")
    model = AESIPE(encoder, 4).train()
    labels = torch.tensor([[1.0, 0, 0], [0, 1, 1]])
    optimizer = torch.optim.SGD(model.parameter_groups(0.01, 0.1))
    aesipe_loss(model(torch.rand(2, 3, 64, 64), labels), labels)["loss"].backward()
    optimizer.step()
    again = build_backbone("timm:resnet18", saved(tmp_path / "aesipe.pt", {"model": model.state_dict()}))
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in encoder.state_dict().items())
    for name in ("resnet18", "convnext_atto"):  # the latter rounds sizes down by itself
        fields = IRN(build_backbone(f"timm:{name}", "none"))(torch.rand(1, 3, 49, 101))
        assert fields["boundary"].shape == (1, 1, 13, 26)


@pytest.mark.parametrize(
    "name, words",
    [
        ("swin_tiny_patch4_window7_224", "output stride 16"),
        ("vit_tiny_patch16_224", "output stride 16"),
        ("densenet121", "output stride 16"),
        ("xception71", "cannot be cut into five stages"),
        ("cspdarknet53", "cannot be cut into five stages"),
        ("halonet26t", "cannot be cut into five stages"),
        ("resnet5O", "is unknown to timm: did you mean timm:resnet5"),
        ("resnet18.mine", "timm has weights a1_in1k"),
    ],
)
def test_networks_without_the_five_maps_are_refused_in_a_line(name, words):
    assert words in refusal(f"timm:{name}")


def test_weights_that_are_not_there_or_of_another_network_are_refused(tmp_path):
    path = saved(tmp_path / "w.pth", timm.create_model("resnet34").state_dict())
    assert "is not a part of this backbone" in refusal("timm:resnet18", path)  # all that resnet18 has is there
    assert "another backbone" in refusal("timm:mobilenetv3_small_100", path)
    unpublished = next(name for name in timm.list_models("resnet*") if not timm.list_pretrained(name))
    assert "timm cannot load it (No pretrained weights exist" in refusal(f"timm:{unpublished}", "imagenet")


def test_a_download_that_fails_is_one_line(monkeypatch):
    def offline(*_args, **_more):
        raise OSError("no connection\nto the hub")

    monkeypatch.setattr("timm.models._builder.load_pretrained", offline)
    assert "timm cannot load it (no connection to the hub)" in refusal("timm:resnet18", "imagenet")


def test_without_timm_the_line_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    command = f"backbone timm:resnet18 needs a package that is not installed: {sys.executable} -m pip install timm"
    assert refusal("timm:resnet18") == command
