"""A training step of every network on fake CUDA tensors: no GPU is needed to see a CPU tensor among them, or a value
that the CPU would have to wait for."""

from functools import partial
from unittest import mock

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode, unset_fake_temporarily

from deeplab.model import build as build_deeplab
from deeplab.model import count_pixels
from deeplab.model import step_losses as deeplab_losses
from net.aesipe import build as build_aesipe
from net.aesipe import step_losses as aesipe_losses
from net.irn import build as build_irn
from net.irn import count_pairs
from net.irn import step_losses as irn_losses
from tool.dist import Dist
from tool.guard import LossGuard
from tool.settings import DeeplabTrain, TrainAesipe, TrainIrn
from tool.trainer import to_device, train_step

CUDA = torch.device("cuda", 0)
K = 5


@pytest.fixture
def gpu():
    """Fake tensors, on which autocast and backward work as on a GPU."""
    never = mock.patch("torch.amp.autocast_mode.torch.cuda.amp.common.amp_definitely_not_available", lambda: False)
    bfloat16 = mock.patch.object(torch.cuda, "is_bf16_supported", lambda *_, **__: True)
    with never, bfloat16, mock.patch.object(torch.Tensor, "backward", give_gradients), FakeTensorMode():
        yield


def give_gradients(loss):
    """What backward does to the leaves that a loss comes from; the engine itself asks for a real GPU."""
    seen, todo = set(), [loss.grad_fn]
    while todo:
        node = todo.pop()
        if node is not None and node not in seen:
            seen.add(node)
            todo += [before for before, _ in node.next_functions]
            if hasattr(node, "variable"):
                node.variable.grad = torch.empty_like(node.variable)


def on_gpu(network):
    """The network with fake CUDA tensors in the place of its own: Module.to cannot swap those."""
    for module in network.modules():
        for tensors in (module._parameters, module._buffers):
            for name, value in tensors.items():
                if value is not None:
                    layout = torch.channels_last if value.dim() == 4 else torch.contiguous_format
                    fake = torch.empty(value.shape, dtype=value.dtype, device=CUDA, memory_format=layout)
                    is_parameter = isinstance(value, torch.nn.Parameter)
                    tensors[name] = torch.nn.Parameter(fake, value.requires_grad) if is_parameter else fake
    return network.train()


def built(make, *words):
    """What batch norm's copies need: a network is made of real tensors."""
    with unset_fake_temporarily():
        return make(*words)


def aesipe(backbone, **changes):
    network, criterion = built(build_aesipe, TrainAesipe(backbone=backbone, **changes), K, "none")
    return network, partial(aesipe_losses, criterion), lambda: network.parameter_groups(0.01, 0.1), None


def irn(backbone):
    network = built(build_irn, TrainIrn(backbone=backbone), "none")
    return network, partial(irn_losses, 5), lambda: network.parameter_groups(0.1), partial(count_pairs, 5)


def deeplab(backbone, **changes):
    network, criterion = built(build_deeplab, DeeplabTrain(backbone=backbone, **changes), K, "none")
    return network, partial(deeplab_losses, criterion), lambda: network.parameter_groups(0.01), count_pixels


def batch_of(n, side, device=CUDA):
    batch = {
        "image": torch.empty(n, 3, side, side, dtype=torch.uint8),
        "labels": torch.ones(n, K - 1),
        "box": torch.zeros(n, 4, dtype=torch.int64),
        "target": torch.zeros(n, side, side, dtype=torch.uint8),
        "id": ["a"] * n,
        "most": 3,
    }
    return to_device(batch, device)


def take_steps(network, losses, groups, count, dtype=torch.bfloat16, parts=1):
    """Two steps of a network on the GPU: raises at a tensor that is elsewhere, and where a value is asked for."""
    network = on_gpu(network)
    optimizer = torch.optim.SGD(groups(), momentum=0.9, weight_decay=1e-4)  # the fused one has no fake form
    scaler = torch.amp.GradScaler("cuda", enabled=False)
    for _ in range(2):
        batch = batch_of(4, 96)
        share = count(batch) / parts if count else None  # as of several processes, or parts
        terms, norm = train_step(network, losses, batch, optimizer, scaler, dtype, 1.0, parts, share)
        LossGuard(Dist(0, 1, CUDA)).add(1, 0.1, ["a"], terms["loss"], norm)
    assert all(value.device == CUDA for value in (norm, *terms.values()))
    lacking = [name for name, value in network.named_parameters() if value.requires_grad and value.grad is None]
    assert not lacking


SIPE = {"ae": False, "structure_features": "semantic", "normalization": "max"}


@pytest.mark.parametrize("dtype", [None, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("make", [aesipe, irn, deeplab])
def test_no_step_waits_for_the_gpu_or_leaves_it(gpu, make, dtype):
    take_steps(*make("resnet18"), dtype)


@pytest.mark.parametrize("make", [aesipe, irn, deeplab])
def test_a_batch_in_parts_does_not_either(gpu, make):
    take_steps(*make("resnet18"), parts=2)


@pytest.mark.parametrize(
    "changes",
    [
        SIPE,
        {"batch_norm": "train", "frozen_stages": 0},
        {"frozen_stages": 4},
        {"backbone": "resnet101"},
        {"backbone": "resnet50"},
        {"backbone": "mobilenet_v2"},
        {"sequence": ("pamr",)},
        {"sequence": ("pamr", "prototype")},
        {"sequence": ("prototype", "is_cam", "pamr")},
        {"sequence": ("prototype", "is_cam")},
    ],
    ids=str,
)
def test_every_trained_parameter_gets_a_gradient_whatever_the_switches(gpu, changes):
    take_steps(*aesipe(**{"backbone": "resnet18", **changes}))


def test_a_value_that_is_asked_for_would_be_seen(gpu):
    network, losses, groups, count = aesipe("resnet18")

    def asking(network, batch):
        terms = losses(network, batch)
        float(terms["loss"].detach())
        return terms

    with pytest.raises(DataDependentOutputException):
        take_steps(network, asking, groups, count)


@pytest.mark.parametrize("make", [aesipe, irn, deeplab])
@pytest.mark.parametrize("backbone", ["resnet50", "mobilenet_v2"])
def test_the_trunk_stays_in_channels_last(make, backbone):
    """On the CPU: what a fake convolution returns does not tell what cuDNN's would."""
    network, losses, *_ = make(backbone)
    network = network.to(memory_format=torch.channels_last).train()
    copied = []

    def look(module, inputs, output):
        if not all(maps.is_contiguous(memory_format=torch.channels_last) for maps in (*inputs, output)):
            copied.append(module)

    for module in network.encoder.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(look)
    losses(network, batch_of(2, 64, torch.device("cpu")))["loss"].backward()
    assert not copied
