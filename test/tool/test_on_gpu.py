"""What a training does for a GPU, as far as a machine without one can show it."""

from collections import Counter
from contextlib import nullcontext

import pytest
import torch
from tiny_training import ALONE, STEPS, Stopped, batches, counted, settings_of, squares, stop, tiny_network, train
from torch import nn

from deeplab.model import build
from errors import UserError
from tool.checkpoint import load_state, save_state
from tool.dist import Dist
from tool.record import checkpoint_record
from tool.settings import DeeplabTrain
from tool.trainer import Task, Trainer, _synchronised, on_device

CUDA = torch.device("cuda", 0)


def stopped_in(run, precision):
    with pytest.raises(Stopped):
        train(run, counted([], at="a6", do=stop), precision=precision)


def test_the_precision_in_use_is_recorded_and_going_on_in_another_is_refused(tmp_path):
    """auto means another one on another machine; both trainings are asked for by the same setting."""
    stopped_in(tmp_path, "bfloat16")
    path = tmp_path / "ckpt/tiny_state/00000004.pt"
    assert load_state(path)["record"]["precision"] == "bfloat16"
    with pytest.raises(UserError, match="was made in bfloat16, and this machine computes in float32"):
        train(tmp_path, precision="auto")
    train(tmp_path, precision="bfloat16")
    assert checkpoint_record(tmp_path / "ckpt/tiny.pt")["precision"] == "bfloat16"


def test_float16_goes_on_from_a_state_without_a_scaler(tmp_path, monkeypatch):
    """As earlier versions saved it, which recorded no precision."""
    stopped_in(tmp_path, "float32")
    path = tmp_path / "ckpt/tiny_state/00000004.pt"
    state = load_state(path)
    assert state["scaler"] == {}
    del state["record"]["precision"]
    save_state(path, state)
    assert train(tmp_path, precision="float16").steps_done == STEPS - 4


def test_images_of_many_sizes_after_training_are_not_searched_for_or_compiled_for(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(torch.compiler, "set_stance", lambda stance: seen.append(stance) or nullcontext())

    def finish(network):
        seen.append((network.training, torch.backends.cudnn.benchmark))

    def losses(network, batch):
        assert torch.backends.cudnn.benchmark
        return squares(network, batch)

    train(tmp_path, losses, after=finish, compile=True)
    assert seen == ["force_eager", (False, False)]


@pytest.mark.parametrize("deterministic", [True, False])
def test_determinism_keeps_cudnn_from_choosing(tmp_path, deterministic):
    seen = []
    train(
        tmp_path,
        lambda *each: seen.append(torch.backends.cudnn.benchmark) or squares(*each),
        deterministic=deterministic,
    )
    assert set(seen) == {not deterministic}


def test_the_parts_that_a_task_names_are_compiled(tmp_path, monkeypatch):
    compiled = []
    monkeypatch.setattr(nn.Module, "compile", lambda module: compiled.append(module))
    network = tiny_network()
    task = Task(
        network, squares, [{"params": network.parameters(), "lr": 0.05}], batches, 2, compiled=(network[0], network[4])
    )
    Trainer(task, settings_of(tmp_path, compile=True), ALONE, tmp_path / "ckpt/tiny.pt", {"stage": "tiny"}).train()
    assert compiled == [network[0], network[4]]


class FakeStream:
    """A CUDA stream that notes in which order it is told what."""

    def __init__(self, told, name):
        self.told, self.name = told, name

    def record_event(self):
        self.told.append("copied")
        return len(self.told)

    def wait_event(self, event):
        self.told.append("waited")


def test_a_gpu_gets_each_batch_while_it_works_on_the_one_before(monkeypatch):
    told = []
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: FakeStream(told, "copying"))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: FakeStream(told, "working"))
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    monkeypatch.setattr("tool.trainer.to_device", lambda batch, device: batch)
    kept = Counter()
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda tensor, stream: kept.update([stream.name]))
    seen = []
    for batch in on_device(batches(0, 3), CUDA):
        told.append("step")
        seen.append(batch["id"][0])
    assert seen == ["a0", "a1", "a2"]
    assert told == ["copied", "copied", "waited", "step", "copied", "waited", "step", "waited", "step"]
    assert kept == {"working": 3}


@pytest.mark.parametrize("batch_norm", ["train", "frozen"])
def test_batch_norm_that_gathers_statistics_gathers_them_from_all_gpus(batch_norm):
    """DeepLabV3's head does, whatever its encoder does."""
    settings = DeeplabTrain(backbone="resnet18", frozen_stages=0, batch_norm=batch_norm)
    model = _synchronised(build(settings, 3, "none")[0].train(), Dist(0, 4, CUDA))
    layers = [layer for layer in model.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    gathering = [layer for layer in layers if layer.training]
    assert gathering and all(type(layer) is nn.SyncBatchNorm for layer in gathering)
    assert (len(gathering) == len(layers)) == (batch_norm == "train")
    model.train()
    assert [layer for layer in layers if layer.training] == gathering


def test_batch_norm_that_is_fixed_is_left_alone():
    fixed = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).eval()
    assert type(_synchronised(fixed, Dist(0, 4, CUDA))[1]) is nn.BatchNorm2d


@pytest.mark.parametrize("norm, trains, shared", [(nn.BatchNorm2d, True, True), (nn.BatchNorm2d, False, False),
                                                  (nn.SyncBatchNorm, True, False)])  # fmt: skip
def test_buffers_are_sent_only_where_processes_gather_their_own(tmp_path, monkeypatch, norm, trains, shared):
    given = {}
    monkeypatch.setattr("tool.trainer.DistributedDataParallel", lambda model, **words: given.update(words))
    network = nn.Sequential(nn.Conv2d(3, 4, 1), norm(4))
    task = Task(network, squares, [{"params": network.parameters(), "lr": 0.05}], batches, 2)
    trainer = Trainer(task, settings_of(tmp_path), Dist(0, 2, torch.device("cpu")), tmp_path / "ckpt/tiny.pt", {})
    network[1].train(trains)
    trainer._network()
    assert given == {"broadcast_buffers": shared, "gradient_as_bucket_view": True, "static_graph": True}
