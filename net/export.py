"""AE-SIPE and DeepLabV3 as graphs of torch.export or ONNX, for images of any size and number."""

import copy
from contextlib import contextmanager
from io import BytesIO

import torch
import torch.nn.functional as F
from torch import nn

from errors import UserError, missing_package

EXAMPLE = (2, 80, 96)  # N, H, W: any would do, but no two sides alike, or the graph would hold for squares only
# At least 17 pixels, see `trace`; H and W modulo the encoders' stride of 16 take each value, seldom the same.
CHECKED = ((3, 160, 64), (1, 224, 224), *((1 + i % 2, 17 + i, 33 + (7 * i + 5) % 16) for i in range(16)))


class Localizer(nn.Module):
    """AESIPE with only what others want of its output."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, image, labels):
        """image: [N,3,H,W] RGB in [0,1]. labels: [N,K-1] float in {0,1}.

        Returns a dict: score [N,K-1], the class logits; cam, is_cam, ae_is_cam [N,K,h,w] in [0,1] at stride 16,
        background first, zero for classes not in labels.
        """
        output = self.model(image, labels)
        return {name: output[name] for name in ("score", "cam", "is_cam", "ae_is_cam")}


class StridedMaxPool(nn.Module):
    """A max pooling whose output has (n - 1) // stride + 1 positions of n: all of stride 1, and of them each stride-th.

    The same values as those of torch's, whose size in a graph of torch.export holds only for the example's remainder of
    n by the stride.
    """

    def __init__(self, pool):
        super().__init__()
        self.stride = pool.stride
        self.dense = nn.MaxPool2d(pool.kernel_size, 1, pool.padding)

    def forward(self, x):
        return self.dense(x)[:, :, :: self.stride, :: self.stride]


def traceable(model):
    """A copy of the network with each strided max pooling in a form that a graph of any size can hold."""
    model = copy.deepcopy(model).to(memory_format=torch.contiguous_format)  # torch.export.save warns of other orders
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.MaxPool2d) and child.stride != 1:
                setattr(parent, name, StridedMaxPool(child))
    return model


def trace(model, n_labels=None):
    """The network, in eval mode on the CPU, as a torch.export.ExportedProgram.

    model: takes an image [N,3,H,W] and, with n_labels, labels [N,n_labels]. N, H and W stay free; H and W must be at
    least 17, since a map of a single position has a layout of its own in memory, which a graph would have to know.
    Raises UserError for a network that does what no graph can hold.
    """
    inputs = examples(EXAMPLE, n_labels)
    dynamic = torch.export.Dim.DYNAMIC
    shapes = [{0: dynamic, 2: dynamic, 3: dynamic}, {0: dynamic}]
    with torch.no_grad(), _or_refused():
        return torch.export.export(traceable(model), inputs, dynamic_shapes=tuple(shapes[: len(inputs)]), strict=False)


@contextmanager
def _or_refused():
    """torch's exporters raise errors of many kinds, with pages of text, for what they cannot trace."""
    try:
        yield
    except Exception as error:
        first = " ".join(str(error).split())[:200]
        raise UserError(f"this network cannot be made a graph: {type(error).__name__}: {first}") from error


def examples(size, n_labels=None, seed=0):
    """Inputs of size (N, H, W): blobs of colour, which have edges and areas as photographs do, and labels."""
    n, height, width = size
    generator = torch.Generator().manual_seed(seed)
    image = F.interpolate(torch.rand(n, 3, 6, 5, generator=generator), (height, width), mode="bicubic").clamp(0, 1)
    if n_labels is None:
        return (image,)
    labels = (torch.rand(n, n_labels, generator=generator) < 0.3).float()
    labels[torch.arange(n), torch.arange(n) % n_labels] = 1
    return image, labels


def save_pt2(program, path, about):
    """Write the program as a .pt2 file, `about` inside as about.json. Returns the loaded file as a function."""
    encoded = BytesIO()  # not into the file: torch ends the process where the disk is full
    torch.export.save(program, encoded, extra_files={"about.json": about})
    path.write_bytes(encoded.getbuffer())
    with open(path, "rb") as file:
        return torch.export.load(file).module()


def import_onnxruntime():
    """The module. Raises UserError if it, or what torch exports ONNX by, is not installed."""
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  the exporter needs it
    except ImportError as error:
        raise missing_package("--format onnx", "onnxscript", "onnxruntime") from error
    return onnxruntime


def save_onnx(program, path, about):
    """As `save_pt2`, an ONNX file for onnxruntime; `about` is in its metadata."""
    onnxruntime = import_onnxruntime()
    names = list(program.call_spec.out_spec.context or ["logits"])  # see `_named`
    # Its optimiser takes minutes for PAMR's thousands of nodes; onnxruntime does the same when it loads the file.
    with _or_refused():
        onnx = torch.onnx.export(program, dynamo=True, verbose=False, optimize=False, output_names=names)
    onnx.model.metadata_props["about.json"] = about
    onnx.save(path, external_data=False)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors: it warns of each constant that it does not fold
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    inputs = [item.name for item in session.get_inputs()]

    def graph(*values):
        outputs = session.run(names, {name: value.numpy() for name, value in zip(inputs, values)})
        return {name: torch.from_numpy(output) for name, output in zip(names, outputs)}

    return graph


def _named(output):
    """{name: tensor} of what a network or its graph returns: DeepLabV3 has one output, and a name only in ONNX."""
    return output if isinstance(output, dict) else {"logits": output}


@torch.no_grad()
def differences(graph, model, n_labels=None, sizes=CHECKED):
    """{output: largest difference between the graph's and the network's}, on inputs of other sizes and contents than
    the example: of values beyond 1, relative to the largest, as floats are exact. graph: function of the inputs."""
    worst = {}
    for seed, size in enumerate(sizes, 1):
        inputs = examples(size, n_labels, seed)
        with _or_refused():  # a graph may hold for some sizes only
            got = _named(graph(*inputs))
        for name, expected in _named(model(*inputs)).items():
            difference = (got[name] - expected).abs().max() / expected.abs().max().clamp_min(1)
            worst[name] = max(worst.get(name, 0.0), float(difference))
    return worst
