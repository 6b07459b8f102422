"""What a training needs on a GPU, told without one: its own steps under fake CUDA tensors, shapes without data.

A fake step goes through the operations of a real one, with autocast as CUDA has it; the bytes of what is alive are
counted. What no tensor holds is added as an allowance, which has not been measured.
"""

import heapq
import weakref
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from unittest import mock

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from bench.training import PRESENT, build_training, made_up_batch, run_steps

GIB = 2**30
CARDS = (8, 11, 16, 24, 40, 80)  # GiB, as cards are sold
CUDA = torch.device("cuda", 0)
BLOCK = 512  # bytes, to which PyTorch's allocator rounds
AUTOCAST = {"auto": torch.bfloat16, "bfloat16": torch.bfloat16, "float16": torch.float16}
# The allowance, none of it measured. The context: what a process has on the GPU before any tensor, with kernels that
# are loaded. The workspace: of cuDNN, which tries the algorithms that need some, and of cuBLAS. NCCL: its buffers.
CONTEXT, WORKSPACE, NCCL = 0.6 * GIB, 0.5 * GIB, 0.5 * GIB
FRAGMENTATION = 0.10  # of the tensors: blocks that are free and fit nothing
USABLE = 0.91  # of a card's size: what the driver leaves of it where ECC takes its part, as on a T4


@dataclass(frozen=True)
class Forecast:
    """Bytes on one GPU at the peak of a training step.

    images: that go through the network at once. fixed: parameters and buffers. gradients: all of them.
    held: gradients that are there at the peak. state: of the optimiser. inputs: the batch. peak: of all tensors.
    operations: of matrix products and convolutions an image; None where PyTorch cannot count them.
    """

    images: int
    fixed: int
    gradients: int
    held: int
    state: int
    inputs: int
    peak: int
    operations: float | None = None

    @property
    def activations(self):
        """What is neither of the others: maps that the backward pass waits for, and what is being computed."""
        return self.peak - self.fixed - self.held - self.state - self.inputs

    def split(self, processes, parts):
        """(gradients, inputs) at the peak. parts: of a batch, as `--accumulate` divides it.

        Gradients stay with several processes, whose buckets hold them, and where they are summed over parts. All parts
        of a batch are there from the start, and the next batch is on its way.
        """
        return self.gradients if processes > 1 or parts > 1 else self.held, 2 * parts * self.inputs

    def tensors(self, processes=1, parts=1):
        """The peak."""
        return self.fixed + self.state + self.activations + sum(self.split(processes, parts))

    def needed(self, processes=1, parts=1):
        """The peak with the allowance."""
        tensors = self.tensors(processes, parts)
        return tensors * (1 + FRAGMENTATION) + CONTEXT + WORKSPACE + (NCCL if processes > 1 else 0)

    def at(self, images, other):
        """The forecast for another number of images, on the line through this one and another: all that depends on
        the images grows in proportion to them."""
        share = (images - self.images) / (other.images - self.images)
        return replace(
            self,
            images=images,
            **{
                key: round(getattr(self, key) + share * (getattr(other, key) - getattr(self, key)))
                for key in ("inputs", "peak", "held")
            },
        )


def forecast(name, settings, n_classes, images, device=CUDA):
    """name: of `bench.training.TRAINED`. settings: of the stage. n_classes: K, with the background. images: that go
    through the network at once on one GPU. device: another stands for what the tensors would need there."""
    training = build_training(name, settings, n_classes)  # before the fake mode: networks of timm look at values
    batch = made_up_batch(training, n_classes, images)
    ledger = _Ledger()
    with _fake_gpu(ledger) as mode:
        network = _fake(training.network, device).train()
        fixed = ledger.add(*network.parameters(), *network.buffers())
        batch = {key: mode.from_tensor(value) if torch.is_tensor(value) else value for key, value in batch.items()}
        dtype = AUTOCAST.get(settings.precision) if device.type == "cuda" else None
        with ledger:
            optimizer = run_steps(training, settings, batch, device, dtype, lambda: ledger.restart(network))
        inputs = sum(_rounded(value.nbytes) for value in batch.values() if torch.is_tensor(value))
        inputs += 4 * batch["image"].numel()  # as floats, see `tool.trainer.to_device`
        state = [each for values in optimizer.state.values() for each in tree_leaves(values) if torch.is_tensor(each)]
        gradients = _gradients(network)
    grouped = any(isinstance(layer, nn.Conv2d) and layer.groups > 1 for layer in network.modules())
    return Forecast(
        images,
        fixed,
        gradients,
        ledger.held_at_peak,
        sum(_rounded(each.nbytes) for each in state),
        inputs,
        ledger.peak,
        # PyTorch's counter takes the backward of a grouped convolution for that of a full one.
        None if grouped else ledger.operations / images,
    )


class Outlook:
    """The forecasts of one training for every number of images."""

    def __init__(self, forecast_of, batch, least, parts=1, processes=1):
        """forecast_of: function of a number of images that gives a `Forecast`. batch: images of a step on one GPU.
        least: images that can go through the network at once. parts: of the batch. processes: one a GPU."""
        self.forecast_of, self.batch, self.least, self.parts, self.processes = (
            forecast_of,
            batch,
            least,
            parts,
            processes,
        )
        self.given = forecast_of(self.at_once(parts))

    @cached_property
    def other(self):
        images = self.given.images
        return self.forecast_of(images // 2 if images >= 2 * self.least else 2 * images)

    def at_once(self, parts):
        """Images of one of so many parts of the batch."""
        return max(self.batch // parts, self.least)

    def at(self, images):
        return self.given if images == self.given.images else self.given.at(images, self.other)

    def needed(self, parts=None):
        """Bytes with the batch in so many parts, by default as the settings say."""
        parts = self.parts if parts is None else parts
        return self.at(self.at_once(parts)).needed(self.processes, parts)

    def fitting_parts(self, gib):
        """The smallest `--accumulate` with which the batch needs no more than so many GiB; None if none does."""
        for parts in range(1, max(1, self.batch // self.least) + 1):
            if self.batch % parts == 0 and self.needed(parts) <= gib * GIB:
                return parts
        return None

    def most_images(self, gib):
        """How many images at once need no more than so many GiB; 0 if not even the fewest do."""
        images = self.least
        while self.at(images).needed(self.processes) <= gib * GIB:
            images += 1
        return images - 1 if images > self.least else 0


def outlook(name, settings, n_classes, processes=1):
    """The `Outlook` of a stage's training with its settings. processes: that share the batch."""
    return Outlook(
        partial(forecast, name, settings, n_classes),
        settings.batch_size // processes,
        2 if name == "deeplab_train" else 1,  # batch norm of DeepLab's image pooling sees one value an image
        settings.accumulate,
        processes,
    )


class _Ledger(TorchDispatchMode):
    """Bytes of the storages that are alive, their peak, and operations. Answers what a step asks of its data.

    held_at_peak: bytes of gradients among them.
    """

    def __init__(self):
        super().__init__()
        self.known, self.now, self.peak, self.held, self.held_at_peak, self.operations = set(), 0, 0, 0, 0, 0

    def restart(self, network):
        """Forget the peak and the operations so far; the network's gradients are held."""
        self.peak, self.operations, self.held = self.now, 0, _gradients(network)

    def add(self, *tensors):
        """Returns the bytes that these tensors add."""
        before = self.now
        for tensor in tensors:
            storage = tensor.untyped_storage()
            key, size = storage._cdata, _rounded(storage.nbytes())
            if tensor.device.type == "meta" or key in self.known:
                continue
            self.known.add(key)
            self.now += size
            weakref.finalize(storage, self._drop, key, size)
        if self.now > self.peak:
            self.peak, self.held_at_peak = self.now, self.held
        return self.now - before

    def _drop(self, key, size):
        self.known.discard(key)
        self.now -= size

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.ops.aten._local_scalar_dense.default:  # a number: how many classes the images show, or a test
            return 1 + PRESENT if not args[0].is_floating_point() else 1.0
        result = func(*args, **kwargs)
        if func._overloadpacket in flop_registry:
            self.operations += flop_registry[func._overloadpacket](*args, **kwargs, out_val=result)
        self.add(*(each for each in tree_leaves(result) if isinstance(each, torch.Tensor)))
        return result


@contextmanager
def _fake_gpu(ledger):
    """A fake mode in which a machine without a GPU trains on one."""
    kept = _Kept()
    with ExitStack() as stack:
        # Autocast turns itself off where there is no GPU, and autograd's engine asks for the GPU's context.
        stack.enter_context(mock.patch.object(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False))
        stack.enter_context(mock.patch.object(torch.cuda, "is_bf16_supported", lambda *_, **__: True))
        stack.enter_context(mock.patch.object(torch.Tensor, "backward", lambda loss: _backward(loss, ledger)))
        stack.enter_context(torch.autograd.graph.saved_tensors_hooks(kept.pack, kept.unpack))
        yield stack.enter_context(FakeTensorMode())


class _Kept:
    """What the backward pass waits for; each is let go of once it is used, as autograd's engine does it."""

    def pack(self, tensor):
        return [tensor]

    def unpack(self, kept):
        return kept.pop()


@torch.no_grad()
def _backward(loss, ledger):
    """Gradients of all that the loss reaches, in the order of autograd's engine: the newest operation first."""
    ledger.held = 0  # what was zeroed before is gone
    waiting, todo = {}, [loss.grad_fn]  # node -> edges that lead to it
    while todo:
        for node, _ in todo.pop().next_functions:
            if node is not None:
                if node not in waiting:
                    todo.append(node)
                waiting[node] = waiting.get(node, 0) + 1
    ready, gradients, order = [], {loss.grad_fn: [torch.ones_like(loss)]}, 0
    heapq.heappush(ready, (-loss.grad_fn._sequence_nr(), order, loss.grad_fn))
    while ready:
        node = heapq.heappop(ready)[2]
        given = gradients.pop(node)
        if hasattr(node, "variable"):
            _accumulate(node.variable, given[0], ledger)
            continue
        found = node(*given)
        del given
        found = list(found) if isinstance(found, tuple) else [found]
        for number, (following, place) in enumerate(node.next_functions):
            gradient, found[number] = found[number], None
            if following is None:
                continue
            expected = following._input_metadata
            slots = gradients.setdefault(following, [None] * len(expected))
            if gradient is not None:
                gradient = _fitted(gradient, expected[place])
                slots[place] = gradient if slots[place] is None else _summed(slots[place], gradient)
            del gradient
            waiting[following] -= 1
            if not waiting[following]:
                order += 1
                heapq.heappush(ready, (-following._sequence_nr(), order, following))


def _fitted(gradient, expected):
    """Operations leave it to the engine to sum over what was broadcast, and to convert."""
    shape = tuple(expected.shape)
    return (gradient if gradient.shape == shape else gradient.sum_to_size(shape)).to(expected.dtype)


def _summed(one, other):
    """In place, as the engine does it, but for gradients that are one value at many places."""
    return one.add_(other) if all(one.stride()) else one + other


def _accumulate(parameter, gradient, ledger):
    if gradient is None:
        return
    if parameter.grad is None:
        parameter.grad = gradient.detach()
        ledger.held += _rounded(gradient.nbytes)
    else:
        parameter.grad += gradient


def _fake(network, device):
    """The network with fake parameters and buffers on the device, in the layout of the Trainer."""

    def made(tensor):
        form = torch.channels_last if tensor.dim() == 4 else torch.contiguous_format
        return torch.empty(tensor.shape, dtype=tensor.dtype, device=device, memory_format=form)

    for part in network.modules():
        for key, parameter in part._parameters.items():
            if parameter is not None:
                part._parameters[key] = nn.Parameter(made(parameter), parameter.requires_grad)
        for key, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[key] = made(buffer)
    return network


def _gradients(network):
    return sum(_rounded(each.grad.nbytes) for each in network.parameters() if each.grad is not None)


def _rounded(size):
    return -(-size // BLOCK) * BLOCK
