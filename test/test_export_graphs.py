"""Graphs for other codebases: equal to their networks at every size, or not written."""

import json
import os
import sys
from functools import partial

import onnxruntime
import pytest
import torch
from scripts import error_lines
from trained_run import CLASSES, make_run

from deeplab.model import DeepLabV3
from infer.maps import load_aesipe
from infer.segmentation import load_deeplab
from module.affinity import AFFINITIES
from module.cam import present_classes
from module.pamr import PAMR
from net.aesipe import AESIPE
from net.backbone import build_backbone
from net.export import CHECKED, Localizer, StridedMaxPool, differences, trace
from tool.run import Run


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run with both networks."""
    run = tmp_path_factory.mktemp("export") / "run"
    make_run(run, run.parent / "gone")
    return run


def load(path):
    """(a function of the inputs, what about.json says)."""
    if path.suffix == ".pt2":
        extra = {"about.json": ""}
        program = torch.export.load(path, extra_files=extra)
        return program.module(), json.loads(extra["about.json"])
    session = onnxruntime.InferenceSession(path)
    names = [item.name for item in session.get_outputs()]

    def graph(*inputs):
        got = session.run(None, {item.name: value.numpy() for item, value in zip(session.get_inputs(), inputs)})
        got = dict(zip(names, map(torch.from_numpy, got)))
        return got.get("logits", got)

    return graph, json.loads(session.get_modelmeta().custom_metadata_map["about.json"])


def largest_difference(got, expected):
    assert set(got) == set(expected) == {"score", "cam", "is_cam", "ae_is_cam"}
    return max(float((value - expected[key]).abs().max()) for key, value in got.items())


@pytest.mark.parametrize(
    "name, form", [("deeplab", "onnx"), ("aesipe", "pt2"), pytest.param("aesipe", "onnx", marks=pytest.mark.slow)]
)
def test_graphs_equal_their_networks_at_sizes_that_they_were_not_made_with(made, script, monkeypatch, name, form):
    """As files, read as others read them. PAMR of a few neighbours and steps: the whole takes most of the time."""
    monkeypatch.setitem(AFFINITIES, "pamr", partial(PAMR, iterations=2, dilations=(1, 3)))
    path = made.parent / f"{name}.{form}"
    done = script("export.py", "--run", made, "--what", name, "--format", form, "--out", path)
    assert done.status == 0 and done.err == ""
    graph, about = load(path)
    assert about["class_names"] == list(CLASSES) and about["network"] == name
    load_network = {"aesipe": load_aesipe, "deeplab": load_deeplab}[name]
    model = load_network(Run(made), len(CLASSES), torch.device("cpu"))
    for size in ((1, 17, 40), (5, 90, 33)):
        inputs = [torch.rand(size[0], 3, *size[1:])]
        if name == "aesipe":
            inputs.append((torch.rand(size[0], 3) < 0.5).float())
        with torch.no_grad():
            got, expected = graph(*inputs), model(*inputs)
        if name == "deeplab":
            torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)
        else:
            assert largest_difference(got, {key: expected[key] for key in got}) < 1e-4


SIPE = {"sequence": (), "normalization": "max", "structure_features": "semantic"}
SLOW = [
    (network, backbone)
    for network in ("deeplab", "aesipe", "sipe")
    for backbone in ("mobilenet_v2", "resnet18", "resnet50", "resnet101")
    if (network, backbone) != ("sipe", "resnet18")
]


# Of the others, those above meet every remainder too: export.py checks each graph at the sizes CHECKED.
@pytest.mark.parametrize(
    "network, backbone", [("sipe", "resnet18"), *(pytest.param(*each, marks=pytest.mark.slow) for each in SLOW)]
)
def test_graphs_hold_for_every_size(network, backbone):
    """Every remainder of height and width modulo 16, from 17 pixels up, of one image and of more."""
    torch.manual_seed(0)
    encoder = build_backbone(backbone, "none", dilate_last=network == "deeplab")
    if network == "deeplab":
        model, n_labels = DeepLabV3(encoder, 4).eval(), None
    else:
        model, n_labels = Localizer(AESIPE(encoder, 4, **SIPE if network == "sipe" else {}).eval()), 3
        model.model.pamr = PAMR(iterations=2, dilations=(1, 3))
    sizes = [(1 + (h + w) % 2, h, w) for h in range(17, 33) for w in range(17, 33) if (h + 5 * w) % 16 == 0]
    assert {h % 16 for _, h, _ in sizes} == {w % 16 for _, _, w in sizes} == set(range(16))
    graph = trace(model, n_labels).module()
    assert max(differences(graph, model, n_labels, [*sizes, (3, 131, 97)]).values()) < 1e-3


def test_the_check_of_a_graph_meets_every_remainder():
    assert {h % 16 for _, h, _ in CHECKED} == {w % 16 for _, _, w in CHECKED} == set(range(16))
    assert min(n for n, *_ in CHECKED) == 1 < max(n for n, *_ in CHECKED)


def test_a_pooling_in_a_graph_gives_torchs_values():
    pool = torch.nn.MaxPool2d(3, 2, 1)
    for size in ((1, 1), (2, 5), (7, 8), (16, 9)):
        maps = torch.randn(2, 3, *size)
        assert torch.equal(StridedMaxPool(pool)(maps), pool(maps))


def test_onnx_without_its_packages_is_one_line(made, script, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    done = script("export.py", "--run", made, "--what", "deeplab", "--format", "onnx", "--out", tmp_path / "a.onnx")
    assert done.status == 2 and "pip install onnxscript onnxruntime" in error_lines(done.err)[0]
    assert not os.listdir(tmp_path)


class Doubled(torch.nn.Module):
    """Goes wrong once it is a graph."""

    mean = std = torch.ones(3, 1, 1)

    def forward(self, image):
        return image * 2 if torch.compiler.is_exporting() else image


def test_a_graph_that_differs_is_not_written(made, script, monkeypatch, tmp_path):
    assert differences(trace(Doubled()).module(), Doubled())["logits"] > 0.5
    monkeypatch.setattr("infer.graph.load_deeplab", lambda *_: Doubled())
    done = script("export.py", "--run", made, "--what", "deeplab", "--out", tmp_path / "a.pt2")
    assert done.status == 2 and "not written: the graph differs" in done.err and not os.listdir(tmp_path)


def test_a_graph_holds_all_classes_where_training_packs_them():
    valid = torch.zeros(2, 5, 3, 3)
    valid[0, [0, 2]] = 1
    valid[1, 0] = 1
    index, present = present_classes(valid)
    assert index.tolist() == [[0, 2], [0, 1]] and present.tolist() == [[True, True], [True, False]]
