"""AE-SIPE's losses, what they train, and how its settings build it."""

from math import exp, log

import numpy as np
import pytest
import torch
from nets import BOX, LABELS, example_image, network

from module.affinity import AE_SEQUENCE
from net.aesipe import aesipe_loss, build, step_losses
from tool.settings import TrainAesipe


def test_gsc_reaches_the_classifier_through_cam_and_the_projections_through_the_last_map():
    model = network()
    new = {"classifier": [model.classifier.weight], "projections": list(model.projections.parameters())}
    for through, reached, other in (("cam", "classifier", "projections"), ("ae_is_cam", "projections", "classifier")):
        model.zero_grad()
        output = model(example_image(), LABELS, BOX)
        fixed = "ae_is_cam" if through == "cam" else "cam"
        aesipe_loss({**output, fixed: output[fixed].detach()}, LABELS)["gsc"].backward()
        assert all(p.grad.abs().sum() > 0 for p in new[reached])
        assert all(p.grad is None for p in new[other])
        encoder_is_reached = any(p.grad is not None for p in model.encoder.parameters())
        assert encoder_is_reached == (through == "cam")  # the projections train only themselves


def test_loss_trains_stages_3_and_4_but_not_what_is_frozen():
    model = network().train()
    aesipe_loss(model(example_image(), LABELS, BOX), LABELS)["loss"].backward()
    for number, stage in enumerate(model.encoder.stages):
        assert all((p.grad is not None and p.grad.abs().sum() > 0) == (number >= 3) for p in stage.parameters())


def test_training_step_keeps_frozen_batch_norm_statistics():
    model = network().train()
    buffers = {name: value.clone() for name, value in model.named_buffers()}
    weights = {name: value.detach().clone() for name, value in model.named_parameters()}
    optimizer = torch.optim.SGD(model.parameter_groups(0.01, 0.1))
    aesipe_loss(model(example_image(), LABELS, BOX), LABELS)["loss"].backward()
    optimizer.step()
    assert any("running_var" in name for name in buffers)
    assert all(torch.equal(value, buffers[name]) for name, value in model.named_buffers())
    changed = {name for name, value in model.named_parameters() if not torch.equal(value, weights[name])}
    assert changed == {name for name, value in model.named_parameters() if value.requires_grad}


def test_loss_equals_the_formulas_written_out(output):
    losses = aesipe_loss(output, LABELS)
    cls = 0
    for n, k in np.ndindex(2, 4):
        probability = 1 / (1 + exp(-float(output["score"][n, k])))
        cls -= log(probability if LABELS[n, k] else 1 - probability) / 8
    gsc = 0
    for index in np.ndindex(2, 5, 7, 9):
        gsc += abs(float(output["cam"][index]) - float(output["ae_is_cam"][index])) / (2 * 5 * 7 * 9)
    assert set(losses) == {"loss", "cls", "gsc"} and all(value.shape == () for value in losses.values())
    assert float(losses["cls"]) == pytest.approx(cls, abs=1e-5)
    assert float(losses["gsc"]) == pytest.approx(gsc, abs=1e-5) and gsc > 0
    assert float(losses["loss"]) == pytest.approx(cls + gsc, abs=1e-5)


def test_a_step_keeps_off_the_padding_of_its_crops():
    """The trainer's step hands the boxes on: without, padding would become seeds, and AE a loss."""
    model, image = network(), example_image()
    with torch.no_grad():
        losses = step_losses(aesipe_loss, model, {"image": image, "labels": LABELS, "box": BOX})
        boxed, free = (aesipe_loss(model(image, LABELS, box), LABELS) for box in (BOX, None))
    assert losses == boxed and abs(float(boxed["gsc"] - free["gsc"])) > 1e-3


@pytest.mark.parametrize("ae, sequence", [(True, AE_SEQUENCE), (True, ["prototype", "is_cam"]), (False, AE_SEQUENCE)])
def test_build_follows_its_settings(ae, sequence):
    settings = TrainAesipe(
        backbone="resnet18",
        frozen_stages=3,
        batch_norm="train",
        ae=ae,
        sequence=tuple(sequence),
        structure_features="semantic",
        normalization="max",
        cam_background="present",
    )
    model, criterion = build(settings, 4, "none")
    assert criterion is aesipe_loss and model.sequence == (tuple(sequence) if ae else ())
    assert (model.structure_features, model.normalization, model.cam_background) == ("semantic", "max", "present")
    assert model.classifier.weight.shape == (3, 512, 1, 1) and model.encoder.batch_norm == "train"
    assert not any(p.requires_grad for p in model.encoder.stages[:4].parameters())
    assert all(p.requires_grad for p in model.encoder.stages[4].parameters())
