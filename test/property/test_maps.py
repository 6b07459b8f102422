"""What holds of every map of the method: over shapes down to 1 x 1, labels, paddings and odd contents."""

import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scenes import DTYPES, MAPS, SEEDS, SIDES, assert_map, assert_one_hot, fill, scenes

from module.affinity import AE_SEQUENCE, affinity_enhanced_cam, pamr_refine, refine_is_cam
from module.cam import map_seeds, normalize_cam, normalize_map
from module.pamr import PAMR
from module.prototype import class_prototypes, image_specific_cam
from module.structure import structure_seeds
from net.aesipe import aesipe_loss


@given(scenes(), st.sampled_from(["all", "present"]), st.sampled_from(["minmax", "max", "none"]))
@settings(max_examples=20)
def test_every_map_is_finite_and_within_its_mask_and_all_seeds_are_one_hot(scene, background, normalization):
    cam = normalize_cam(scene.logits, scene.valid, background)
    assert_map(cam, scene.valid)
    assert_one_hot(map_seeds(cam, scene.valid), scene.valid)
    assert_one_hot(map_seeds(cam + 2 * (1 - scene.valid), scene.valid), scene.valid)  # absent classes above all others

    seeds = structure_seeds(scene.features, cam, scene.valid)
    assert_one_hot(seeds, scene.valid)
    prototypes = class_prototypes(scene.features, seeds)
    assert prototypes.isfinite().all()
    assert (prototypes[seeds.sum(dim=(2, 3)) == 0] == 0).all()
    is_cam = image_specific_cam(scene.features, prototypes) * scene.valid
    assert_map(is_cam, scene.valid)

    pamr = PAMR(3)
    assert_map(pamr_refine(is_cam, scene.image, scene.valid, pamr) * scene.valid, scene.valid)
    last, ae_seeds = affinity_enhanced_cam(scene.features, is_cam, scene.image, scene.valid, pamr, normalization)
    assert_map(last, scene.valid)
    assert_one_hot(ae_seeds, scene.valid)


@given(scenes(), st.lists(st.sampled_from(AE_SEQUENCE), max_size=4))
def test_every_sequence_of_modules_gives_a_map_and_one_hot_seeds(scene, sequence):
    assume("is_cam" not in sequence or "prototype" in sequence[: sequence.index("is_cam")])
    is_cam = image_specific_cam(scene.features, class_prototypes(scene.features, scene.valid)) * scene.valid
    cam, seeds = refine_is_cam(scene.features, is_cam, scene.image, scene.valid, PAMR(2), sequence)
    assert_map(cam * scene.valid, scene.valid)
    assert (seeds is None) == ("prototype" not in sequence)
    if seeds is not None:
        assert_one_hot(seeds, scene.valid)


@given(scenes())
def test_gradients_are_finite(scene):
    logits, features = scene.logits.requires_grad_(), scene.features.requires_grad_()
    cam = normalize_cam(logits, scene.valid)
    seeds = structure_seeds(features, cam, scene.valid)
    is_cam = image_specific_cam(features, class_prototypes(features, seeds)) * scene.valid
    last, _ = affinity_enhanced_cam(features, is_cam, scene.image, scene.valid, PAMR(2))
    output = {"score": logits.mean(dim=(2, 3)), "cam": cam, "ae_is_cam": last}
    losses = aesipe_loss(output, scene.labels.to(torch.float32))
    losses["loss"].backward()
    assert all(value.isfinite() for value in losses.values())
    assert logits.grad.isfinite().all()
    assert features.grad is None or features.grad.isfinite().all()


@given(scenes(contents=st.just("noise"), dtypes=st.just(torch.float64)), st.floats(1e-3, 1e3))
def test_is_cam_does_not_depend_on_the_length_of_the_features(scene, factor):
    seeds = map_seeds(normalize_cam(scene.logits, scene.valid), scene.valid)

    def is_cam(features):
        return image_specific_cam(features, class_prototypes(features, seeds))

    torch.testing.assert_close(is_cam(factor * scene.features), is_cam(scene.features), rtol=0, atol=1e-9)


@given(SEEDS, DTYPES, MAPS, MAPS, SIDES, SIDES, st.integers(1, 3), st.integers(1, 5), st.booleans())
@settings(max_examples=20)
def test_pamr_averages(seed, dtype, image_kind, mask_kind, h, w, scale, iterations, faint):
    """Its kernel's rows are weights of a mean, so a constant comes out as it is and no value leaves the range."""
    generator = torch.Generator().manual_seed(seed)
    image = fill(image_kind, (2, 3, scale * h, scale * w), generator, dtype).abs()
    if faint:  # texture far below one grey level
        image = 0.5 + 1e-6 * image
    pamr = PAMR(iterations)
    kernel = torch.cat(pamr.affinity(image), dim=1)
    rounding = 10 * torch.finfo(dtype).eps
    assert kernel.isfinite().all() and kernel.min() >= 0
    torch.testing.assert_close(kernel.sum(dim=1), torch.ones_like(image[:, 0]), rtol=0, atol=rounding)

    mask = fill(mask_kind, (2, 2, h, w), generator, dtype)
    refined = pamr(image, mask)
    assert refined.shape == (2, 2, *image.shape[2:])
    slack = 10 * iterations * rounding * mask.abs().max()
    low, high = mask.amin(dim=(2, 3), keepdim=True), mask.amax(dim=(2, 3), keepdim=True)
    assert (refined >= low - slack).all() and (refined <= high + slack).all()
    constant = mask[:, :, :1, :1].expand_as(mask)
    torch.testing.assert_close(
        pamr(image, constant), constant[:, :, :1, :1].expand_as(refined), rtol=0, atol=float(slack)
    )


@given(scenes(), st.sampled_from(["minmax", "max"]))
def test_normalised_maps_span_what_they_say(scene, mode):
    cam = scene.logits.abs().clamp(max=1)
    cam = torch.cat([cam[:, :1], cam], dim=1)
    normalised = normalize_map(cam, scene.valid, mode)
    assert_map(normalised, scene.valid)
    top, peak = (cam * scene.valid).amax(dim=(2, 3)), normalised.amax(dim=(2, 3))
    if mode == "max":
        torch.testing.assert_close(peak, top / (top + 1e-5))
    else:
        lows = torch.where(scene.valid > 0, normalised, torch.ones_like(normalised)).amin(dim=(2, 3))
        present = scene.valid.amax(dim=(2, 3)) > 0
        assert (lows[present] == 0).all()
