import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from infer.pseudo import mean_boundary
from module.irn_loss import affinity_displacement_loss
from net.irn import IRN, build, step_losses
from tool.dist import Dist
from tool.settings import TrainIrn
from tool.trainer import Task, Trainer


class TinyEncoder(nn.Module):
    """Five maps at strides 4, 4, 8, 16, 16 from strided convolutions that round sizes up, with batch norm."""

    def __init__(self, frozen_stages=4):
        super().__init__()
        self.channels = [4, 6, 8, 10, 12]
        widths = [3, *self.channels]
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, out, 2 * stride - 1, stride, stride - 1), nn.BatchNorm2d(out), nn.ReLU())
            for width, out, stride in zip(widths, self.channels, (4, 1, 2, 2, 1))
        )
        self.stages[: frozen_stages + 1].requires_grad_(False)

    def forward(self, image):
        maps = [image]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps[1:]


@pytest.fixture
def network():
    torch.manual_seed(0)
    return IRN(TinyEncoder())


@pytest.mark.parametrize("height, width", [(64, 96), (65, 97), (37, 50), (33, 16)])
def test_fields_at_stride_4(network, height, width):
    fields = network(torch.rand(2, 3, height, width))
    size = (-(-height // 4), -(-width // 4))
    assert set(fields) == {"boundary", "displacement"}
    assert fields["boundary"].shape == (2, 1, *size) and fields["displacement"].shape == (2, 2, *size)
    assert fields["boundary"].min() >= 0 and fields["boundary"].max() <= 1


@pytest.mark.parametrize("dtype, bias", [(torch.bfloat16, 7.0), (torch.float16, 9.0)])
def test_a_sure_boundary_keeps_its_gradient_in_half_precision(network, dtype, bias):
    """Its sigmoid in 16 bits is 1 exactly, whose gradient is 0."""
    with torch.no_grad():
        network.boundary.classifier.weight.zero_()
        network.boundary.classifier.bias.fill_(bias)
    with torch.autocast("cpu", dtype):
        boundary = network(torch.rand(1, 3, 32, 32))["boundary"]
    boundary.sum().backward()
    found = network.boundary.classifier.bias.grad.item() / boundary.numel()
    share = 1 / (1 + math.exp(-bias))
    assert boundary.dtype == torch.float32 and found == pytest.approx(share * (1 - share), rel=0.02)


def test_encoder_stays_frozen(network):
    network.train()
    before = {name: value.clone() for name, value in network.encoder.state_dict().items()}
    fields = network(torch.rand(2, 3, 48, 48))
    (fields["boundary"].sum() + fields["displacement"].square().sum()).backward()
    assert network.training and not any(module.training for module in network.encoder.modules())
    assert all(not p.requires_grad and p.grad is None for p in network.encoder.parameters())
    assert all(torch.equal(value, before[name]) for name, value in network.encoder.state_dict().items())


@pytest.mark.parametrize("kernel, frozen_stages", [(3, 4), (1, 2), (3, 2)])
def test_wider_heads_and_an_encoder_that_trains(kernel, frozen_stages):
    """3 x 3 heads see beyond their pixel and keep the fields' size; stages that are not frozen learn at lr / 10, and
    batch norm keeps its statistics all the same."""
    torch.manual_seed(0)
    network = IRN(TinyEncoder(frozen_stages), kernel).train()
    widths = {tuple(block[0].kernel_size) for block in network.boundary.projections}
    assert widths == {tuple(block[0].kernel_size) for block in network.displacement.projections} == {(kernel, kernel)}
    fields = network(torch.rand(2, 3, 45, 61))
    assert fields["boundary"].shape == (2, 1, 12, 16) and fields["displacement"].shape == (2, 2, 12, 16)
    (fields["boundary"].sum() + fields["displacement"].square().sum()).backward()
    trains = [stage[0].weight.grad is not None for stage in network.encoder.stages]
    assert trains == [number > frozen_stages for number in range(5)]
    assert all(stage[1].running_mean.abs().max() == 0 for stage in network.encoder.stages)
    rates = [group["lr"] for group in network.parameter_groups(0.1)]
    assert rates == pytest.approx([0.1, 1.0, 0.01][: 2 + any(trains)])
    grouped = [parameter for group in network.parameter_groups(0.1) for parameter in group["params"]]
    assert {id(p) for p in grouped} == {id(p) for p in network.parameters() if p.requires_grad}


def test_parameter_groups_hold_every_trained_parameter_once(network):
    boundary, displacement = network.parameter_groups(0.1)
    assert boundary["lr"] == 0.1 and displacement["lr"] == 1.0
    grouped = [*boundary["params"], *displacement["params"]]
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    assert {id(p) for p in grouped} == {id(p) for p in trained} and len(grouped) == len(trained)
    fields = network(torch.rand(2, 3, 40, 40))
    fields["boundary"].sum().backward()
    assert all(p.grad is not None for p in boundary["params"])
    assert all(p.grad is None for p in displacement["params"])
    fields["displacement"].square().sum().backward()
    assert all(p.grad is not None for p in displacement["params"])


def test_mean_displacement_is_subtracted_in_eval_mode_only(network):
    image = torch.rand(1, 3, 40, 56)
    raw = network.train()(image)["displacement"]
    torch.testing.assert_close(network.eval()(image)["displacement"], raw)
    network.mean_displacement.copy_(torch.tensor([1.5, -2.0]))
    centred = network(image)["displacement"]
    torch.testing.assert_close(raw - centred, torch.tensor([1.5, -2.0])[:, None, None].expand(1, 2, 10, 14))
    torch.testing.assert_close(network.train()(image)["displacement"], raw)
    assert torch.equal(network.state_dict()["mean_displacement"], torch.tensor([1.5, -2.0]))


@pytest.mark.parametrize("height, width", [(64, 80), (33, 49)])
def test_heads_written_out(network, height, width):
    """The published layers one by one, at a size where every stride divides the image, and at one where what is
    upsampled is cut, so that each pixel stays in its place."""
    maps = network.encoder(torch.rand(1, 3, height, width))

    def convolved(block, x):
        return F.conv2d(x, block[0].weight)

    def upsampled(x, factor, like):
        return F.interpolate(x, scale_factor=factor, mode="bilinear")[..., : like.shape[2], : like.shape[3]]

    projected = []
    for block, x, factor in zip(network.boundary.projections, maps, (1, 1, 2, 4, 4)):
        normalised = F.group_norm(convolved(block, x), 4, block[1].weight, block[1].bias)
        projected.append(F.relu(upsampled(normalised, factor, maps[0])))
    classifier = network.boundary.classifier
    expected = F.conv2d(torch.cat(projected, 1), classifier.weight, classifier.bias)
    torch.testing.assert_close(network.boundary(maps), expected)

    head, projected = network.displacement, []
    for block, x, groups, factor in zip(head.projections, maps, (8, 16, 16, 16, 16), (1, 1, 1, 2, 2)):
        normalised = F.group_norm(convolved(block, x), groups, block[1].weight, block[1].bias)
        projected.append(F.relu(upsampled(normalised, factor, x if factor == 1 else maps[2])))
    assert [x.shape[1] for x in projected] == [64, 128, 256, 256, 256]
    deep = F.group_norm(convolved(head.join_deep, torch.cat(projected[2:], 1)), 16)
    joined = torch.cat([*projected[:2], F.relu(upsampled(deep, 2, maps[0]))], 1)
    joined = F.relu(F.group_norm(convolved(head.join_all, joined), 16))
    torch.testing.assert_close(head(maps), F.conv2d(joined, head.regressor.weight))


@pytest.mark.parametrize("frozen_stages", [3, 4])
def test_the_encoder_is_frozen_as_the_settings_say(frozen_stages):
    built = build(TrainIrn(backbone="resnet18", frozen_stages=frozen_stages), "none")
    trains = [any(p.requires_grad for p in stage.parameters()) for stage in built.encoder.stages]
    assert trains == [number > frozen_stages for number in range(5)] and TrainIrn().frozen_stages == 4


def test_a_step_takes_the_labels_of_every_fourth_pixel(network):
    """Those at which the encoder's strides place the fields' pixels."""
    target = torch.full((2, 48, 64), 255)
    target[:, ::4, ::4] = torch.randint(0, 3, (2, 12, 16))
    images = torch.rand(2, 3, 48, 64)
    losses, fields = step_losses(4, network.train(), {"image": images, "target": target}), network(images)
    expected = affinity_displacement_loss(fields["boundary"], fields["displacement"], target[:, ::4, ::4], 4)
    assert all(torch.equal(losses[name], value) and value > 0 for name, value in expected.items())


def test_a_layer_that_is_added_is_trained(network):
    class Longer(IRN):
        def __init__(self, encoder):
            super().__init__(encoder)
            self.more = nn.Conv2d(2, 2, 1)

    boundary, displacement = Longer(TinyEncoder()).parameter_groups(0.1)
    plain = network.parameter_groups(0.1)
    assert [len(group["params"]) for group in plain] == [len(boundary["params"]), len(displacement["params"]) - 2]


def test_an_update_is_the_published_one(tmp_path):
    """SGD at 0.1, ten times that for displacements, without momentum: with 0.9 the step grows tenfold."""
    torch.manual_seed(0)
    network = IRN(TinyEncoder())
    settings = TrainIrn(run_root=str(tmp_path), tracker="none")
    task = Task(network, None, network.parameter_groups(settings.lr), None, steps=10)
    optimizer = Trainer(task, settings, Dist(0, 1, torch.device("cpu")), tmp_path / "ckpt/irn.pt", {}).optimizer
    expected = {name: value.detach().clone() for name, value in network.named_parameters()}
    for _ in range(3):
        for name, value in network.named_parameters():
            if value.requires_grad:
                value.grad = torch.full_like(value, 0.5)
                lr = 0.1 if name.startswith("boundary.") else 1.0
                expected[name] -= lr * (0.5 + 1e-4 * expected[name])
        optimizer.step()
    for name, value in network.named_parameters():
        torch.testing.assert_close(value, expected[name], msg=name)


def test_the_boundary_of_an_image_is_the_published_one():
    """The sigmoid of the mean of two logits, image and mirror image, and not the mean of two sigmoids."""
    torch.manual_seed(0)
    network = IRN(TinyEncoder()).eval()
    with torch.no_grad():
        network.boundary.classifier.weight.mul_(30)  # so that the two means differ
    image = torch.randint(0, 256, (3, 48, 64), dtype=torch.uint8)
    one, mirrored = (network(each[None] / 255)["boundary"][0, 0].detach().double() for each in (image, image.flip(2)))
    mirrored = mirrored.flip(1)
    boundary = mean_boundary(network, image)
    expected = torch.sigmoid((torch.logit(one) + torch.logit(mirrored)) / 2)
    torch.testing.assert_close(boundary.double(), expected, atol=1e-4, rtol=1e-3)
    assert (boundary - (one + mirrored) / 2).abs().max() > 0.01


def test_the_boundary_learns_the_same_without_displacements():
    """Under a frozen encoder no other thing reaches it, and its first weights are drawn before those of the other."""
    images, labels = torch.rand(2, 3, 48, 64), torch.randint(0, 3, (2, 48, 64))
    boundaries = []
    for displacement in (True, False):
        torch.manual_seed(0)
        network = IRN(TinyEncoder(), displacement=displacement).train()
        optimizer = torch.optim.SGD(network.parameter_groups(0.1))
        for _ in range(2):
            optimizer.zero_grad()
            losses = step_losses(4, network, {"image": images, "target": labels})
            losses["loss"].backward()
            optimizer.step()
        assert [*losses] == ["loss", "pos", "neg"] + ["dp_fg", "dp_bg"] * displacement
        boundaries.append(mean_boundary(network.eval(), (255 * images[0]).byte()))
    assert torch.equal(*boundaries) and network(images)["displacement"] is None
