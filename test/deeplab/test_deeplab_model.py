import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from scripts import read_png
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import tool.settings
from data.transforms import scaled
from deeplab.model import NETWORKS, DeepLabV3, build, segmentation_loss, step_losses
from errors import UserError
from infer.segmentation import likely_classes, load_deeplab, multi_scale_probabilities, save_refined
from module.crf import dense_crf_probabilities
from net.backbone import build_backbone
from tool.checkpoint import save_result
from tool.record import make_record
from tool.run import Run
from tool.settings import DeeplabTrain
from tool.values import read

SETTINGS = {"backbone": "resnet18", "weights": "none", "frozen_stages": 0, "batch_norm": "frozen"}


def build_small(n_classes=4, **changes):
    torch.manual_seed(0)
    return build(DeeplabTrain(**{**SETTINGS, **changes}), n_classes, "none")


@pytest.fixture(scope="module")
def model():
    return build_small()[0].eval()


@pytest.mark.parametrize("height, width", [(64, 64), (65, 97), (37, 50), (17, 33)])
def test_logits_have_the_images_size(model, height, width):
    with torch.inference_mode():
        logits = model(torch.rand(2, 3, height, width))
    assert logits.shape == (2, 4, height, width) and logits.dtype == torch.float32 and logits.isfinite().all()


def test_classes_without_any_probability_are_left_to_no_crf():
    """Of many classes none need reach a hundredth."""
    assert likely_classes(torch.tensor([0.6, 0.395, 0.005]).view(3, 1, 1)).tolist() == [0, 1]
    assert len(likely_classes(torch.full((200, 2, 2), 1 / 200))) == 200


def test_labels_after_crf_are_classes_and_not_places_among_those_that_it_got(tmp_path):
    generator = np.random.default_rng(0)
    image, classes = generator.integers(0, 256, (20, 24, 3), np.uint8), np.array([0, 2, 3])
    probabilities = generator.dirichlet((1, 1, 1), (20, 24)).transpose(2, 0, 1).astype(np.float32)
    save_refined(tmp_path / "a.png", image, classes, probabilities, "")
    places = dense_crf_probabilities(image, probabilities).argmax(axis=0)
    assert np.array_equal(read_png(tmp_path / "a.png"), classes[places]) and places.max() == 2


def test_logits_are_float32_under_autocast(model):
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert model(torch.rand(1, 3, 32, 32)).dtype == torch.float32


def test_output_stride_is_16_and_the_last_stage_dilated(model):
    with torch.inference_mode():
        maps = model.encoder(torch.rand(1, 3, 64, 96))
    assert [tuple(x.shape[2:]) for x in maps[3:]] == [(4, 6), (4, 6)]
    wide = [
        layer
        for layer in model.encoder.stages[4].modules()
        if isinstance(layer, nn.Conv2d) and layer.kernel_size != (1, 1)
    ]
    # As in torchvision's: the block that lost its stride keeps its dilation, those after it double theirs.
    assert wide[0].dilation == (1, 1) and {layer.dilation for layer in wide[1:]} == {(2, 2)}


def test_atrous_rates_are_those_of_output_stride_16(model):
    rates = [
        layer.dilation[0] for layer in model.head.modules() if isinstance(layer, nn.Conv2d) and layer.dilation != (1, 1)
    ]
    assert rates == [6, 12, 18]


@pytest.mark.parametrize("frozen_stages", [0, 2])
def test_groups_hold_every_trained_parameter_once(frozen_stages):
    model = build_small(frozen_stages=frozen_stages)[0]
    encoder, head = model.parameter_groups(0.01)
    assert (encoder["lr"], head["lr"]) == (0.01, 0.1)
    grouped = [*encoder["params"], *head["params"]]
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert len(grouped) == len(trained) == len({id(p) for p in grouped} & {id(p) for p in trained})
    model.train()(torch.rand(2, 3, 32, 32)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in grouped)
    assert all(p.grad is None for p in model.parameters() if not p.requires_grad)


@pytest.mark.parametrize("batch_norm", ["frozen", "train"])
def test_batch_norm_of_the_encoder_is_frozen_on_request(batch_norm):
    model = build_small(batch_norm=batch_norm)[0].train()
    before = model.encoder.stages[1][0].bn1.running_mean.clone()
    model(torch.rand(2, 3, 32, 32))
    assert torch.equal(model.encoder.stages[1][0].bn1.running_mean, before) == (batch_norm == "frozen")


def test_pixels_labelled_255_are_ignored():
    criterion = build_small()[1]
    logits = torch.randn(2, 4, 5, 6, requires_grad=True)
    target = torch.randint(0, 4, (2, 5, 6))
    target[:, :2] = 255
    criterion(logits, target).backward()
    assert (logits.grad[:, :, :2] == 0).all() and (logits.grad[:, :, 2:] != 0).all()
    torch.testing.assert_close(criterion(logits, target), criterion(logits[:, :, 2:], target[:, 2:]))


class Columns(nn.Module):
    """Logits that depend on the pixel alone, so that flips and scales of it can be told exactly."""

    def forward(self, image):
        return torch.stack([image[:, 0], 1 - image[:, 0]], dim=1) * 4


def test_probabilities_at_scale_1_are_those_of_the_network():
    image = torch.randint(0, 256, (3, 12, 17), dtype=torch.uint8)
    expected = Columns()(image[None].float() / 255).softmax(dim=1)[0]
    for flip in (False, True):
        torch.testing.assert_close(multi_scale_probabilities(Columns(), image, (1.0,), flip), expected)


def test_probabilities_are_means_over_scales_and_flips(model):
    image = torch.randint(0, 256, (3, 33, 47), dtype=torch.uint8)
    result = multi_scale_probabilities(model, image, (1.0, 0.5, 1.5), flip=True)
    assert result.shape == (4, 33, 47) and result.dtype == torch.float32
    torch.testing.assert_close(result.sum(dim=0), torch.ones(33, 47))
    mirrored = multi_scale_probabilities(model, image.flip(2), (1.0, 0.5, 1.5), flip=True)
    torch.testing.assert_close(mirrored.flip(2), result, atol=1e-4, rtol=1e-3)
    single = [multi_scale_probabilities(model, image, (scale,), flip=True) for scale in (1.0, 0.5, 1.5)]
    torch.testing.assert_close(sum(single) / 3, result)


def test_logits_are_resized_with_pixels_as_areas_before_the_softmax(model):
    image = torch.randint(0, 256, (3, 66, 94), dtype=torch.uint8)
    with torch.inference_mode():
        logits, coarse = model(image[None] / 255), model.head(model.encoder(image[None] / 255)[-1])
    torch.testing.assert_close(logits, F.interpolate(coarse, (66, 94), mode="bilinear", align_corners=False))
    half = Columns()(scaled(image, 0.5)[None] / 255)
    expected = F.interpolate(half, (66, 94), mode="bilinear", align_corners=False).softmax(dim=1)[0]
    torch.testing.assert_close(multi_scale_probabilities(Columns(), image, (0.5,), flip=False), expected)


def test_a_layer_that_is_added_is_trained():
    class Longer(DeepLabV3):
        def __init__(self, encoder, n_classes):
            super().__init__(encoder, n_classes)
            self.more = nn.Conv2d(2, 2, 1)

    model = Longer(build_backbone("resnet18", "none"), 4)
    head = model.parameter_groups(0.01)[1]["params"]
    assert [id(p) for p in head] == [id(p) for part in (model.head, model.more) for p in part.parameters()]


def test_settings_list_the_networks():
    names = torchvision.models.list_models(module=torchvision.models.segmentation)
    assert set(tool.settings.NETWORKS) == {*NETWORKS, *(f"torchvision:{name}" for name in names)}


OTHERS = ["torchvision:lraspp_mobilenet_v3_large", "torchvision:deeplabv3_mobilenet_v3_large"]
SMP = ["smp:Unet", "smp:DeepLabV3Plus", "smp:PSPNet", "smp:PAN"]


def build_other(name, **changes):
    if name.startswith("smp:"):
        pytest.importorskip("segmentation_models_pytorch")
    return build_small(network=name, **changes)


def batch_of(height, width):
    return {"image": torch.rand(2, 3, height, width), "target": torch.randint(0, 4, (2, height, width))}


@pytest.mark.parametrize("name", [*OTHERS, *SMP])
def test_networks_of_other_libraries_train_a_step_and_load_again(name, tmp_path):
    torch.manual_seed(0)
    model, criterion = build_other(name)
    model.train()
    encoder, rest = model.parameter_groups(0.01)
    assert (encoder["lr"], rest["lr"]) == (0.01, 0.1)
    grouped = [*encoder["params"], *rest["params"]]
    assert {id(p) for p in grouped} == {id(p) for p in model.parameters() if p.requires_grad}
    assert {id(p) for p in encoder["params"]} <= {id(p) for p in model.encoder.parameters()}
    before = grouped[0].detach().clone()
    step_losses(criterion, model, batch_of(64, 80))["loss"].backward()
    assert all(p.grad is not None for p in grouped)
    torch.optim.SGD([encoder, rest]).step()
    assert not torch.equal(grouped[0], before)

    settings = DeeplabTrain(**SETTINGS, network=name)
    save_result(tmp_path / "ckpt/deeplab.pt", model.state_dict(), make_record("deeplab_train", settings, {}))
    loaded, image = load_deeplab(Run(tmp_path), 4, torch.device("cpu")), torch.rand(1, 3, 65, 97)
    with torch.inference_mode():
        logits, again = model.eval()(image), loaded(image)
    assert logits.shape == (1, 4, 65, 97) and logits.dtype == torch.float32
    torch.testing.assert_close(again, logits, rtol=1e-3, atol=1e-3 * float(logits.abs().max()))
    assert model(torch.rand(1, 3, 17, 33)).shape == (1, 4, 17, 33)
    with torch.autocast("cpu", torch.bfloat16):
        assert model(torch.rand(1, 3, 32, 32)).dtype == torch.float32


@pytest.mark.parametrize("name", ["torchvision:lraspp_mobilenet_v3_large", "smp:Unet"])
def test_images_are_normalised_inside_and_the_encoders_batch_norm_frozen_on_request(name):
    for batch_norm in ("frozen", "train"):
        model = build_other(name, batch_norm=batch_norm)[0].train()
        norm = next(layer for layer in model.encoder.modules() if isinstance(layer, nn.BatchNorm2d))
        before = norm.running_mean.clone()
        model(torch.rand(2, 3, 64, 64))
        assert torch.equal(norm.running_mean, before) == (batch_norm == "frozen")
    seen = []
    model.eval().network.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    image = torch.rand(1, 3, 128, 160)
    model(image)
    torch.testing.assert_close(seen[0][0, 2], (image[0, 2] - 0.406) / 0.225)
    model(image[:, :, :100])
    assert (seen[1][:, :, 100:] == 0).all()  # what is padded is the mean colour


@pytest.mark.parametrize(
    "name, backbone",
    [
        ("torchvision:fcn_resnet50", "resnet50"),
        ("torchvision:lraspp_mobilenet_v3_large", "mobilenet_v3_large"),
        ("smp:Unet", "resnet18"),
    ],
)
def test_the_encoder_begins_with_a_file_of_torchvision(tmp_path, name, backbone):
    if name.startswith("smp:"):
        pytest.importorskip("segmentation_models_pytorch")
    state = torchvision.models.get_model(backbone).state_dict()
    torch.save(state, tmp_path / "w.pth")
    settings = DeeplabTrain(**{**SETTINGS, "backbone": backbone}, network=name)
    model, _ = build(settings, 4, str(tmp_path / "w.pth"))
    first = next(iter(state.values()))
    assert torch.equal(next(iter(model.encoder.state_dict().values())), first)
    last = [value for key, value in state.items() if not key.startswith(("fc.", "classifier."))][-2]
    assert any(value.shape == last.shape and torch.equal(value, last) for value in model.encoder.state_dict().values())
    torch.save({f"encoder.{key}": value for key, value in state.items()}, tmp_path / "w.pth")
    with pytest.raises(UserError, match="cannot begin with an encoder of this project, such as .*w.pth"):
        build(settings, 4, str(tmp_path / "w.pth"))


def test_smp_takes_the_encoder_of_timm_by_its_name():
    pytest.importorskip("segmentation_models_pytorch")
    model, criterion = build_small(network="smp:Unet", backbone="timm:efficientnet_b0")
    step_losses(criterion, model.train(), batch_of(64, 64))["loss"].backward()
    assert {type(layer) for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)} == {nn.BatchNorm2d}
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"network": "torchvision:fcn"}, "unknown.*: torchvision has .*fcn_resnet50"),
        (
            {"network": "deeplab"},
            "unknown: did you mean deeplabv3.: choose from deeplabv3, torchvision:NAME or smp:NAME",
        ),
        ({"network": "torchvision:fcn_resnet50", "frozen_stages": 2}, "give --frozen_stages 0"),
        ({"network": "smp:Nothing"}, "unknown: smp has Unet"),
        ({"network": "smp:unett"}, "unknown: did you mean Unet.: smp has"),
        ({"network": "smp:Unet", "backbone": "mobilenet_v3_large"}, "has no encoder mobilenet_v3_large: choose from"),
        ({"network": "smp:DPT"}, "smp:DPT with backbone resnet18 cannot be built: Only Timm"),
    ],
)
def test_what_cannot_be_built_is_refused_in_a_line(changes, words):
    if "smp" in changes["network"]:
        pytest.importorskip("segmentation_models_pytorch")
    with pytest.raises(UserError, match=words) as error:
        build_small(**changes)
    assert "\n" not in str(error.value)


def test_settings_refuse_frozen_stages_and_unknown_networks_at_once():
    assert "frozen_stages must be 0" in DeeplabTrain(network="smp:Unet", frozen_stages=2).problem()
    with pytest.raises(ValueError, match="torchvision:fcn: did you mean torchvision:fcn_resnet50"):
        read(tool.settings.NetworkName, "torchvision:fcn")


def test_without_smp_the_line_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    with pytest.raises(UserError, match="pip install segmentation-models-pytorch$"):
        build_small(network="smp:Unet")


class Reductions(TorchDispatchMode):
    """The reductions that `nll_loss` is asked for, 0 for none."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is torch.ops.aten.nll_loss_forward.default:
            self.found.append(args[3])
        return function(*args, **(kwargs or {}))


def test_the_loss_is_the_mean_cross_entropy_by_a_kernel_that_fills_a_gpu():
    """A sum or mean over rows runs on one block of a GPU, forward and backward."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 5, 9, 7, generator=generator, requires_grad=True)
    target = torch.randint(0, 5, (2, 9, 7), generator=generator)
    target[0, :4] = 255
    with Reductions() as reductions:
        loss = segmentation_loss(logits, target.to(torch.uint8))
    assert reductions.found == [0]
    expected = F.cross_entropy(logits, target, ignore_index=255)
    torch.testing.assert_close(loss, expected)
    (one,), (other,) = torch.autograd.grad(loss, logits), torch.autograd.grad(expected, logits)
    torch.testing.assert_close(one, other)
    torch.testing.assert_close(
        segmentation_loss(logits, target, torch.tensor(20.0)), expected * (target != 255).sum() / 20
    )


@pytest.mark.parametrize("count", [None, torch.tensor(0.0)])
def test_a_batch_without_a_labelled_pixel_has_no_loss_and_no_gradient(count):
    logits = torch.randn(2, 5, 9, 7, requires_grad=True)
    loss = segmentation_loss(logits, torch.full((2, 9, 7), 255), count)
    assert loss.item() == 0 and not torch.autograd.grad(loss, logits)[0].any()
