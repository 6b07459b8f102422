import pytest
import torch
from torch import nn

from deeplab.model import build
from infer.segmentation import multi_scale_probabilities
from tool.settings import DeeplabTrain

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


def test_logits_are_float32_under_autocast(model):
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert model(torch.rand(1, 3, 32, 32)).dtype == torch.float32


@pytest.mark.parametrize("backbone", ["resnet18", "resnet50", "mobilenet_v2"])
def test_output_stride_is_16_and_the_last_stage_dilated(backbone):
    model = build_small(backbone=backbone)[0].eval()
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
