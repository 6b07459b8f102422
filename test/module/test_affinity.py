import numpy as np
import pytest
import torch
import torch.nn.functional as F

from module.affinity import affinity_enhanced_cam, pamr_refine, refine_is_cam
from module.cam import map_seeds, normalize_map
from module.pamr import PAMR
from module.prototype import class_prototypes, image_specific_cam

MODULES = {"Pr": "prototype", "IS": "is_cam", "PAMR": "pamr"}
TABLE_3 = ["", "Pr IS", "Pr IS PAMR Pr IS", "PAMR Pr IS Pr IS", "PAMR Pr IS"]


class RecordingPAMR(PAMR):
    """PAMR that keeps the shape of the last mask it got."""

    def forward(self, image, mask):
        self.mask_shape = tuple(mask.shape)
        return super().forward(image, mask)


@pytest.fixture
def batch():
    """Two images of 6 classes on a 5x6 grid: one has background, 2, 3 and 5, the other background and 4 and padding."""
    generator = torch.Generator().manual_seed(0)
    valid = torch.zeros(2, 6, 5, 6)
    valid[0, [0, 2, 3, 5]] = 1
    valid[1, [0, 4], 1:, :4] = 1
    return {
        "features": torch.randn(2, 8, 5, 6, generator=generator),
        "is_cam": torch.rand(2, 6, 5, 6, generator=generator) * valid,
        "image": torch.rand(2, 3, 80, 96, generator=generator),
        "valid": valid,
        "pamr": RecordingPAMR(),
    }


def refine(batch, cam=None):
    return pamr_refine(batch["is_cam"] if cam is None else cam, batch["image"], batch["valid"], batch["pamr"])


@pytest.mark.parametrize("stride", [4, 8])
def test_packed_pamr_equals_pamr_on_all_channels(batch, stride):
    guide = F.interpolate(batch["image"], (80 // stride, 96 // stride), mode="bilinear", align_corners=True)
    full = F.interpolate(PAMR()(guide, batch["is_cam"]), (5, 6), mode="bilinear", align_corners=True)
    refined = pamr_refine(batch["is_cam"], batch["image"], batch["valid"], batch["pamr"], stride)
    assert batch["pamr"].mask_shape == (2, 4, 5, 6)  # the most classes that an image of the batch has
    torch.testing.assert_close(refined, full, rtol=0, atol=1e-6)


def test_pamr_of_a_batch_equals_pamr_of_its_images(batch):
    refined = refine(batch)
    for n in (0, 1):
        alone = pamr_refine(*(batch[name][n : n + 1] for name in ("is_cam", "image", "valid")), batch["pamr"])
        torch.testing.assert_close(refined[n : n + 1], alone, rtol=0, atol=1e-6)
    assert batch["pamr"].mask_shape == (1, 2, 5, 6)


def test_absent_classes_stay_zero_even_if_the_map_is_not(batch):
    refined = refine(batch, torch.ones_like(batch["is_cam"]))
    present = batch["valid"].amax(dim=(2, 3)) > 0
    torch.testing.assert_close(refined[present], torch.ones_like(refined[present]))
    assert (refined[~present] == 0).all()


def run(batch, row):
    sequence = [MODULES[name] for name in row.split()]
    return refine_is_cam(batch["features"], batch["is_cam"], batch["image"], batch["valid"], batch["pamr"], sequence)


def test_each_row_of_table_3_follows_its_sequence(batch):
    features, is_cam, valid = batch["features"], batch["is_cam"], batch["valid"]

    def redraw(cam):
        seeds = map_seeds(cam, valid)
        return image_specific_cam(features, class_prototypes(features, seeds)) * valid, seeds

    expected = {
        "": (is_cam, None),
        "Pr IS": redraw(is_cam),
        "Pr IS PAMR Pr IS": redraw(refine(batch, redraw(is_cam)[0])),
        "PAMR Pr IS Pr IS": redraw(redraw(refine(batch))[0]),
        "PAMR Pr IS": redraw(refine(batch)),
    }
    assert list(expected) == TABLE_3
    for row, (cam, seeds) in expected.items():
        got_cam, got_seeds = run(batch, row)
        torch.testing.assert_close(got_cam, cam, msg=row)
        assert (got_seeds is None) if seeds is None else torch.equal(got_seeds, seeds)
    maps = [run(batch, row)[0] for row in TABLE_3]
    assert all((maps[i] - maps[j]).abs().max() > 0.05 for i in range(5) for j in range(i))  # no two rows agree


@pytest.mark.parametrize("row", TABLE_3[1:])
def test_seeds_are_one_hot_within_the_own_classes_and_never_on_padding(batch, row):
    generator = torch.Generator().manual_seed(1)
    batch["is_cam"] = torch.rand(2, 6, 5, 6, generator=generator)  # strong on absent classes and on the padding too
    _, seeds = run(batch, row)
    assert ((seeds == 0) | (seeds == 1)).all() and (seeds[batch["valid"] == 0] == 0).all()
    assert torch.equal(seeds.sum(1), batch["valid"][:, 0])


@pytest.mark.parametrize("normalization", ["minmax", "max", "none"])
def test_enhanced_cam_is_the_normalised_map_of_its_seeds(batch, normalization):
    cam, seeds = affinity_enhanced_cam(**batch, normalization=normalization)
    assert torch.equal(seeds, map_seeds(refine(batch), batch["valid"]))
    drawn = image_specific_cam(batch["features"], class_prototypes(batch["features"], seeds))
    torch.testing.assert_close(cam, normalize_map(drawn, batch["valid"], normalization))
    assert cam.min() >= 0 and cam.max() <= 1 + 1e-6 and (cam[batch["valid"] == 0] == 0).all()


def test_equals_published(reference):
    data = {name: torch.tensor(values) for name, values in reference("aesipe.npz").items()}
    # The published maps of this step are without padding: the labels alone say what is valid.
    valid = data["valid"].amax(dim=(2, 3), keepdim=True).expand_as(data["valid"])
    cam, seeds = affinity_enhanced_cam(
        data["features"], data["unpadded_is_cam"], data["image"] / 255, valid, PAMR(), "max"
    )
    np.testing.assert_array_equal(seeds.argmax(1), data["pamr_argmax"])
    np.testing.assert_allclose(cam, data["ae_is_cam_maxnorm"], rtol=0, atol=1e-4)


def test_padding_of_photographs_never_becomes_a_seed(reference):
    data = {name: torch.tensor(values) for name, values in reference("aesipe.npz").items()}
    cam, seeds = affinity_enhanced_cam(
        data["features"], data["unpadded_is_cam"], data["image"] / 255, data["valid"], PAMR()
    )
    assert (cam[data["valid"] == 0] == 0).all()
    assert torch.equal(seeds.sum(1), data["valid"][:, 0])


def test_gradient_reaches_the_features_but_not_through_pamr(batch):
    batch["features"].requires_grad_()
    batch["is_cam"].requires_grad_()
    batch["image"].requires_grad_()
    cam, seeds = affinity_enhanced_cam(**batch)
    cam.sum().backward()
    assert batch["features"].grad.abs().sum() > 0 and not seeds.requires_grad
    assert batch["is_cam"].grad is None and batch["image"].grad is None


def test_gradients(batch):
    batch = {name: value.double() for name, value in batch.items()}
    features = batch.pop("features").requires_grad_()
    assert torch.autograd.gradcheck(lambda f: affinity_enhanced_cam(f, **batch)[0], features, fast_mode=True)


def test_unknown_step_is_refused(batch):
    with pytest.raises(ValueError, match="'crf'.*pamr, prototype, is_cam"):
        refine_is_cam(**batch, sequence=("prototype", "crf"))
