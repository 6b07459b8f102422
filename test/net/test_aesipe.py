from math import exp, log

import numpy as np
import pytest
import torch
from torch import nn

import tool.settings
from errors import UserError
from module.affinity import AE_SEQUENCE, AFFINITIES, affinity_enhanced_cam
from module.cam import inside_mask, normalize_map, valid_mask
from module.prototype import class_prototypes, image_specific_cam
from module.structure import structure_seeds
from net.aesipe import AESIPE, aesipe_loss, build
from net.backbone import build_backbone
from tool.settings import TrainAesipe

MAPS = ("cam", "seeds", "is_cam", "ae_seeds", "ae_is_cam")
LABELS = torch.tensor([[1.0, 0, 1, 0], [0, 1, 0, 0]])
BOX = torch.tensor([[0, 0, 97, 130], [32, 0, 97, 90]])


def network(**settings):
    """A network of 5 classes with random weights that tells positions apart as a trained one does.

    A plain random network sees all positions alike, and every seed is background. So batch norm gets the statistics of
    the example, and the 1x1 convolutions look past the mean of the stages they read.
    """
    torch.manual_seed(0)
    encoder = build_backbone("resnet18", "none", frozen_stages=0, batch_norm="train").train()
    with torch.no_grad():
        for _ in range(3):
            encoder(example_image())
        state = encoder.state_dict()
        encoder = build_backbone("resnet18", "none")
        encoder.load_state_dict(state)
        model = AESIPE(encoder, n_classes=5, **settings).eval()
        _, *stages = encoder(example_image())
        for layer, stage in zip([*model.projections, model.classifier], [*stages, stages[-1]]):
            mean = nn.functional.normalize(stage.mean(dim=(0, 2, 3)), dim=0)
            weight = layer.weight[:, :, 0, 0]
            weight -= (weight @ mean)[:, None] * mean
    return model


def example_image(h=97, w=130):
    """Blobs of colour with noise."""
    generator = torch.Generator().manual_seed(3)
    blobs = torch.rand(2, 3, 5, 6, generator=generator)
    smooth = nn.functional.interpolate(blobs, (h, w), mode="bicubic", align_corners=True)
    return (smooth + 0.05 * torch.randn(2, 3, h, w, generator=generator)).clamp(0, 1)


@pytest.fixture(scope="module")
def model():
    return network()


@pytest.fixture(scope="module")
def output(model):
    with torch.no_grad():
        return model(example_image(), LABELS, BOX)


def inputs(model):
    """What `localize` takes."""
    with torch.no_grad():
        return *model.encode(example_image()), example_image(), valid_mask(LABELS, inside_mask(BOX, (97, 130), (7, 9)))


def test_forward_returns_the_stated_keys_and_shapes(model, output):
    assert set(output) == {"score", "prototypes", *MAPS}
    assert output["score"].shape == (2, 4) and output["prototypes"].shape == (2, 5, 768)
    for name in MAPS:
        assert output[name].shape == (2, 5, 7, 9) and output[name].dtype == torch.float32
        assert output[name].min() >= 0 and output[name].max() <= 1 + 1e-6
    logits, *_ = inputs(model)
    torch.testing.assert_close(output["score"], logits.sum((2, 3)) / 63)


def test_maps_are_zero_outside_the_box_and_for_absent_classes(output):
    inside = torch.zeros(2, 7, 9, dtype=torch.bool)
    for n, (top, left, bottom, right) in enumerate(BOX.tolist()):
        for i, j in np.ndindex(7, 9):
            inside[n, i, j] = top <= i * 97 // 7 < bottom and left <= j * 130 // 9 < right
    assert inside[0].all() and not inside[1].all()
    allowed = inside[:, None] & torch.cat([torch.ones(2, 1), LABELS], dim=1).bool()[:, :, None, None]
    for name in MAPS:
        assert (output[name][~allowed] == 0).all() and output[name][allowed].sum() > 0
    for name in ("seeds", "ae_seeds"):
        assert torch.equal(output[name].sum(1), inside.float())


def test_without_a_box_the_whole_image_is_inside(model):
    with torch.no_grad():
        free, boxed = (model(example_image(), LABELS, box) for box in (None, torch.tensor([[0, 0, 97, 130]] * 2)))
    assert all(torch.equal(free[name], boxed[name]) for name in free)
    assert (free["seeds"].sum(1) == 1).all()


def test_hierarchical_features_are_unit_projections_of_the_stages(model):
    with torch.no_grad():
        _, *stages = model.encoder(example_image())
        _, semantic, hierarchical = model.encode(example_image())
    assert torch.equal(semantic, stages[3]) and hierarchical.shape == (2, 768, 7, 9)
    parts = hierarchical.split([128, 128, 256, 256], dim=1)
    for stage, projection, part in zip(stages, model.projections, parts):
        mixed = torch.einsum("dc,nchw->ndhw", projection.weight[:, :, 0, 0], stage)
        unit = mixed / mixed.square().sum(1, keepdim=True).sqrt()
        expected = nn.functional.interpolate(unit, (7, 9), mode="bilinear", align_corners=False)
        torch.testing.assert_close(part, expected, rtol=0, atol=1e-5)


def test_maps_follow_the_steps_of_the_method(model, output):
    _logits, _semantic, hierarchical, image, valid = inputs(model)
    seeds = structure_seeds(hierarchical, output["cam"], valid)
    prototypes = class_prototypes(hierarchical, seeds)
    is_cam = image_specific_cam(hierarchical, prototypes) * valid
    ae_is_cam, ae_seeds = affinity_enhanced_cam(hierarchical, is_cam, image, valid, model.pamr)
    expected = {
        "seeds": seeds,
        "prototypes": prototypes,
        "is_cam": is_cam,
        "ae_seeds": ae_seeds,
        "ae_is_cam": ae_is_cam,
    }
    for name, value in expected.items():
        torch.testing.assert_close(output[name], value, msg=name)
    assert not torch.equal(output["ae_seeds"], output["seeds"])  # or the enhancement would be seen to do nothing


@pytest.mark.parametrize("normalization", ["minmax", "max"])
def test_empty_sequence_is_sipe(normalization):
    model = network(sequence=(), normalization=normalization)
    arguments = inputs(model)
    maps = model.localize(*arguments)
    assert torch.equal(maps["ae_seeds"], maps["seeds"])
    assert torch.equal(maps["ae_is_cam"], normalize_map(maps["is_cam"], arguments[-1], normalization))


def test_semantic_structure_takes_its_seeds_from_stage_4():
    model = network(structure_features="semantic")
    logits, semantic, hierarchical, image, valid = inputs(model)
    maps = model.localize(logits, semantic, hierarchical, image, valid)
    assert torch.equal(maps["seeds"], structure_seeds(semantic, maps["cam"], valid))
    assert not torch.equal(maps["seeds"], structure_seeds(hierarchical, maps["cam"], valid))
    torch.testing.assert_close(maps["prototypes"], class_prototypes(hierarchical, maps["seeds"]))


def test_background_over_present_classes_is_never_darker(model, output):
    present = network(cam_background="present").localize(*inputs(model))["cam"]
    assert torch.equal(present[:, 1:], output["cam"][:, 1:])
    assert (present[:, 0] >= output["cam"][:, 0]).all() and (present[:, 0] > output["cam"][:, 0]).any()


def test_flipped_image_gives_flipped_maps():
    """Kernels are made symmetric, and at 65 x 97 (a multiple of 16, and 1) every strided layer samples symmetrically:
    what remains of a difference would be a step that treats left unlike right."""
    model = network()
    with torch.no_grad():
        for layer in model.encoder.modules():
            if isinstance(layer, nn.Conv2d):
                layer.weight.copy_((layer.weight + layer.weight.flip(3)) / 2)
        image = example_image(65, 97)
        plain, flipped = model(image, LABELS), model(image.flip(3), LABELS)
    torch.testing.assert_close(flipped["score"], plain["score"], rtol=1e-4, atol=1e-4)
    for name in MAPS:
        torch.testing.assert_close(flipped[name].flip(3), plain[name], rtol=0, atol=1e-3, msg=name)
    assert (plain["cam"] - plain["cam"].flip(3)).abs().max() > 0.1


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


def test_parameter_groups_hold_every_trained_parameter_once(model):
    pretrained, new = model.parameter_groups(0.01, 0.1)
    assert (pretrained["lr"], new["lr"]) == (0.01, 0.1)
    grouped = [*pretrained["params"], *new["params"]]
    assert len(grouped) == len({id(p) for p in grouped})
    assert {id(p) for p in grouped} == {id(p) for p in model.parameters() if p.requires_grad}
    assert {id(p) for p in new["params"]} == {
        id(p) for name, p in model.named_parameters() if not name.startswith("encoder.")
    }


def test_output_is_float32_under_autocast(model, output):
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        mixed = model(example_image(), LABELS, BOX)
    assert all(value.dtype == torch.float32 for value in mixed.values())
    assert (mixed["cam"] - output["cam"]).abs().mean() < 0.02


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


def test_a_layer_that_is_added_is_trained(model):
    class Longer(AESIPE):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            self.more = nn.Conv2d(2, 2, 1)

    longer = Longer(model.encoder, 5)
    new = longer.parameter_groups(0.01, 0.1)[1]["params"]
    order = [*longer.projections.parameters(), *longer.classifier.parameters(), *longer.more.parameters()]
    assert [id(p) for p in new] == [id(p) for p in order]


class ColourWalk(nn.Module):
    """A random walk over four neighbours, likelier to those of the same colour."""

    def __init__(self, steps=8, sharpness=10):
        super().__init__()
        self.steps, self.sharpness = steps, sharpness
        self.unused = nn.Parameter(torch.ones(1))

    def forward(self, image, mask):
        mask = nn.functional.interpolate(mask, image.shape[2:], mode="bilinear", align_corners=True)
        shifts = [(0, 1), (0, -1), (1, 0), (-1, 0)]
        nearness = [(image - image.roll(shift, (2, 3))).abs().mean(1, keepdim=True) for shift in shifts]
        weights = torch.cat([-self.sharpness * distance for distance in nearness], dim=1).softmax(dim=1)
        for _ in range(self.steps):
            mask = sum(weights[:, i : i + 1] * mask.roll(shift, (2, 3)) for i, shift in enumerate(shifts))
        return mask


def test_another_affinity_module_takes_part_in_a_step(model, output, monkeypatch):
    monkeypatch.setitem(AFFINITIES, "walk", ColourWalk)
    other = network(affinity="walk").train()
    with torch.no_grad():
        maps = other.eval()(example_image(), LABELS, BOX)
    assert all(torch.equal(maps[name], output[name]) for name in ("cam", "seeds", "is_cam"))
    assert not torch.equal(maps["ae_seeds"], output["ae_seeds"]) and not torch.equal(
        maps["ae_is_cam"], output["ae_is_cam"]
    )
    before = {name: value.detach().clone() for name, value in other.named_parameters()}
    optimizer = torch.optim.SGD(other.train().parameter_groups(0.01, 0.1))
    aesipe_loss(other(example_image(), LABELS, BOX), LABELS)["loss"].backward()
    optimizer.step()
    assert all((p.grad is not None) == p.requires_grad for p in other.parameters())
    assert torch.equal(other.pamr.unused, before["pamr.unused"])  # it runs without gradient
    assert not torch.equal(other.classifier.weight, before["classifier.weight"])


def test_pamr_adds_nothing_to_a_checkpoint(model):
    assert not any(name.startswith("pamr") for name in model.state_dict())
    with pytest.raises(UserError, match="affinity 'mine' is unknown: choose from pamr"):
        AESIPE(model.encoder, 5, affinity="mine")


def test_settings_list_the_affinity_modules():
    assert tuple(AFFINITIES) == tool.settings.AFFINITIES
