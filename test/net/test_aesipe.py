"""AE-SIPE's maps, step by step, and the modules that it is made of."""

import numpy as np
import pytest
import torch
from nets import BOX, LABELS, example_image, inputs, network
from torch import nn

import tool.settings
from errors import UserError
from module.affinity import AFFINITIES, affinity_enhanced_cam
from module.cam import normalize_map
from module.prototype import class_prototypes, image_specific_cam
from module.structure import structure_seeds
from net.aesipe import AESIPE, aesipe_loss

MAPS = ("cam", "seeds", "is_cam", "ae_seeds", "ae_is_cam")


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


def test_maps_are_made_in_float32_whatever_the_network_computes_in(model):
    arguments = inputs(model)
    with torch.no_grad():
        plain = model.localize(*arguments)
        with torch.autocast("cpu", torch.bfloat16):
            mixed = model.localize(*arguments)
    assert all(torch.equal(mixed[name], value) for name, value in plain.items())


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
