"""The forecast of a training's memory: against real steps, and what is told from it."""

import json
from dataclasses import replace
from functools import partial

import pytest
import torch

from bench import forecast as forecasts
from bench import memory
from bench.__main__ import main
from bench.forecast import CONTEXT, GIB, NCCL, WORKSPACE, Forecast, Outlook, forecast
from bench.measure import peak_of_tensors
from bench.training import build_training, made_up_batch, train_briefly
from errors import UserError
from tool.config import parse
from tool.trainer import to_device, train_step

CPU = torch.device("cpu")


def settings_of(name, backbone="resnet18", crop=96, *more):
    return parse(name, argv=["--backbone", backbone, "--weights", "none", "--crop_size", str(crop), *more])


def assert_forecast_is_right(name, settings, images):
    """Within 20 %; docs/gpu.md says how near it was."""
    measured = peak_of_tensors(partial(train_briefly, name, settings, 21, images, CPU, None))
    assert forecast(name, settings, 21, images, CPU).peak == pytest.approx(measured, rel=0.2)


def test_the_forecast_is_what_a_real_step_takes():
    assert_forecast_is_right("train_aesipe", settings_of("train_aesipe", crop=128), 4)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, backbone, crop",
    [
        ("train_irn", "resnet18", 192),
        ("deeplab_train", "resnet18", 192),
        ("train_aesipe", "mobilenet_v2", 192),
        ("train_irn", "mobilenet_v2", 192),
        ("deeplab_train", "mobilenet_v2", 192),
        ("train_aesipe", "resnet50", 256),
    ],
)
def test_the_forecast_is_right_for_every_training(name, backbone, crop):
    assert_forecast_is_right(name, settings_of(name, backbone, crop), 4)


@pytest.mark.slow
def test_the_forecast_of_a_batch_in_parts_is_right():
    settings = settings_of("deeplab_train", "resnet18", 256, "--batch_norm", "frozen")

    def train():
        training = build_training("deeplab_train", settings, 21)
        network = training.network.to(memory_format=torch.channels_last).train()
        batch, scaler = made_up_batch(training, 21, 16), torch.amp.GradScaler("cpu", enabled=False)
        optimizer = training.optimizer(settings)
        for _ in range(2):
            train_step(network, training.losses, to_device(batch, CPU), optimizer, scaler, parts=2)

    expected = forecast("deeplab_train", settings, 21, 8, CPU).tensors(parts=2)
    assert expected == pytest.approx(peak_of_tensors(train), rel=0.2)


def test_the_backward_pass_is_that_of_the_engine(monkeypatch):
    """On a CPU, where the engine can be had too, both hold the same."""
    settings = settings_of("train_aesipe")
    ours = forecast("train_aesipe", settings, 21, 4, CPU)
    monkeypatch.setattr(forecasts, "_backward", lambda loss, ledger: torch.autograd.backward(loss))
    engine = forecast("train_aesipe", settings, 21, 4, CPU)
    assert ours.peak == pytest.approx(engine.peak, rel=0.03)
    assert ours.gradients == engine.gradients and ours.state == engine.state and ours.operations == engine.operations


def test_a_gpu_trains_in_16_bits_and_each_image_takes_the_same():
    settings = settings_of("deeplab_train", crop=512)
    four, eight, twelve = (forecast("deeplab_train", settings, 21, images) for images in (4, 8, 12))
    exact = replace(settings, precision="float32")
    four_exact, twelve_exact = (forecast("deeplab_train", exact, 21, images) for images in (4, 12))
    assert twelve_exact.peak - four_exact.peak > 1.2 * (twelve.peak - four.peak)  # logits are float32 in both
    assert four_exact.fixed == four.fixed and four_exact.state == four.state == four.gradients
    assert four.at(8, twelve).peak == pytest.approx(eight.peak, rel=0.03)
    assert four.operations == pytest.approx(twelve.operations, rel=0.01)  # an image


def test_frozen_stages_have_no_gradient_and_keep_nothing():
    free, frozen = (
        forecast("deeplab_train", settings_of("deeplab_train", "resnet18", 96, "--frozen_stages", stages), 21, 2)
        for stages in ("0", "4")
    )
    assert frozen.gradients < 0.6 * free.gradients and frozen.activations < 0.6 * free.activations
    assert frozen.fixed == free.fixed


def made_up(images, held=0):
    """1 GiB of parameters, 0.5 of gradients and as much momentum, 0.25 an image."""
    return Forecast(images, GIB, GIB // 2, held, GIB // 2, 0, int(1.5 * GIB + held + images * GIB / 4), operations=1e9)


def test_gradients_that_stay_the_batches_and_the_allowance_are_added():
    one = made_up(4)
    assert one.needed() == pytest.approx(2.5 * GIB * 1.1 + CONTEXT + WORKSPACE)
    assert one.needed(parts=2) == pytest.approx(3.0 * GIB * 1.1 + CONTEXT + WORKSPACE)
    assert one.needed(processes=2) == pytest.approx(3.0 * GIB * 1.1 + CONTEXT + WORKSPACE + NCCL)
    held = made_up(4, held=GIB // 2)  # there at the peak anyway: not counted twice
    assert held.needed(parts=2) == held.needed() == pytest.approx(one.needed(parts=2))
    with_inputs = replace(one, inputs=GIB // 8, peak=one.peak + GIB // 8)
    assert with_inputs.tensors() - one.tensors() == GIB // 4  # this batch and the next
    assert with_inputs.tensors(parts=3) - one.tensors(parts=3) == 6 * GIB // 8  # each in three parts, all of them there
    assert made_up(4).at(12, made_up(2)) == made_up(12)


def test_the_smallest_accumulation_that_fits_is_told():
    outlook = Outlook(made_up, batch=16, least=2)
    assert outlook.fitting_parts(outlook.needed() / GIB) == 1
    assert outlook.fitting_parts(outlook.needed() / GIB - 0.1) == 2
    assert outlook.fitting_parts(outlook.needed(parts=8) / GIB) == 8  # parts of 2 images, the fewest
    assert outlook.fitting_parts(outlook.needed(parts=8) / GIB - 0.1) is None
    for images in (2, 7, 30):
        assert outlook.most_images(made_up(images).needed() / GIB + 0.01) == images
    assert outlook.most_images(made_up(1).needed() / GIB + 0.01) == 0


def test_accumulation_and_processes_that_are_set_count():
    outlook = Outlook(made_up, batch=8, least=1, parts=4, processes=2)
    assert outlook.given.images == 2 and outlook.needed() == made_up(2).needed(processes=2, parts=4)


@pytest.fixture
def small_outlooks(monkeypatch):
    monkeypatch.setattr(
        memory,
        "outlook",
        lambda name, settings, n_classes, processes: Outlook(
            made_up, settings.batch_size // processes, 2, processes=processes
        ),
    )


def test_the_command_prints_what_fits_and_writes_json(monkeypatch, capsys, tmp_path, small_outlooks):
    words = ("--memory", "configs/voc12_resnet101.yaml", "--processes", "2", "--json", str(tmp_path / "memory.json"))
    monkeypatch.setattr("sys.argv", ["bench", *words])
    main()
    said = capsys.readouterr().out
    assert "Forecast, not measured" in said and "none of it measured" in said
    # 8 images at once on each of two GPUs: 1 + 0.5 + 0.5 + 8 / 4 GiB, a tenth, and 1.6 that no tensor holds
    assert "| train_aesipe | 16 | 8 | 1.00 | 0.50 | 0.50 | 0.00 | 2.00 | 2.00 | 6.00 |" in said
    assert "| train_irn | 2 (at most 12) |" in said
    found = json.loads((tmp_path / "memory.json").read_text())
    assert found["deeplab_train"]["cards"]["8"] == {"accumulate": 1, "most_images": 12}


def test_a_driver_can_warn_before_a_run(small_outlooks):
    names = ["train_aesipe", "train_irn", "deeplab_train"]
    assert memory.warnings("configs/voc12_resnet101.yaml", names, 1, gib=80) == []
    lines = memory.warnings("configs/voc12_resnet101.yaml", names, 1, gib=6)
    assert [line.split()[0] for line in lines] == names
    assert "set train_aesipe.accumulate=2" in lines[0]
    assert memory.warnings("configs/voc12_resnet101.yaml", names[1:2], 1, gib=6) == lines[1:2]
    assert "lower train_irn.crop_size" in memory.warnings("configs/voc12_resnet101.yaml", names, 1, gib=2)[1]


@pytest.mark.parametrize("config, n_classes", [("coco14_resnet101", 81), ("voc12_resnet101", 21)])
def test_the_driver_warns_by_the_classes_of_the_set_that_is_to_be_made(monkeypatch, config, n_classes):
    asked = []
    monkeypatch.setattr(memory, "outlooks", lambda *words: asked.append(words) or {})
    assert memory.warnings(f"configs/{config}.yaml", ["deeplab_train"], 2, gib=6) == []
    assert asked == [(f"configs/{config}.yaml", 2, n_classes, ["deeplab_train"])]


def test_a_batch_that_processes_cannot_share_is_refused():
    with pytest.raises(UserError, match=r"section train_aesipe: batch_size 16 cannot be shared out evenly in 3 parts"):
        memory.outlooks("configs/voc12_resnet101.yaml", 3, 21)
