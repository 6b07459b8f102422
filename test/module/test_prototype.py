import numpy as np
import pytest
import torch

from module.prototype import class_prototypes, image_specific_cam


def example():
    """features [2,6,4,5] and seeds [2,4,4,5]; class 3 of the first image has no seed, some positions have none."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 6, 4, 5, generator=generator, dtype=torch.float64)
    classes = torch.randint(0, 5, (2, 4, 5), generator=generator)
    classes[0][classes[0] == 3] = 4
    return features, torch.nn.functional.one_hot(classes, 5).permute(0, 3, 1, 2)[:, :4].double()


def test_prototypes_equal_explicit_means():
    features, seeds = example()
    prototypes = class_prototypes(features, seeds)
    assert prototypes.shape == (2, 4, 6)
    for n, k in np.ndindex(2, 4):
        own = [features[n, :, y, x] for y, x in np.ndindex(4, 5) if seeds[n, k, y, x]]
        expected = torch.stack(own).mean(0) if own else torch.zeros(6, dtype=torch.float64)
        torch.testing.assert_close(prototypes[n, k], expected, rtol=0, atol=1e-12)


def test_is_cam_equals_explicit_cosines():
    features, seeds = example()
    prototypes = class_prototypes(features, seeds)
    prototypes[1] *= 7  # prototypes need not be unit vectors
    cam = image_specific_cam(features, prototypes)
    assert cam.shape == (2, 4, 4, 5)
    for n, k, y, x in np.ndindex(2, 4, 4, 5):
        f, p = features[n, :, y, x].numpy(), prototypes[n, k].numpy()
        cosine = f @ p / (np.linalg.norm(f) * np.linalg.norm(p)) if p.any() else 0
        assert float(cam[n, k, y, x]) == pytest.approx(max(0, cosine), abs=1e-12)


def test_class_without_seeds_has_a_zero_prototype_and_a_zero_map():
    features, seeds = example()
    prototypes = class_prototypes(features, seeds)
    cam = image_specific_cam(features, prototypes)
    assert (prototypes[0, 3] == 0).all() and (cam[0, 3] == 0).all()
    assert (cam.flatten(2).amax(2) > 0).sum() == 7  # every other class draws a map


def test_equals_published(reference):
    data = {name: torch.tensor(values) for name, values in reference("aesipe.npz").items()}
    for seeds, is_cam in (("seeds", "is_cam"), ("unpadded_seeds", "unpadded_is_cam")):
        prototypes = class_prototypes(data["features"], data[seeds])
        np.testing.assert_allclose(image_specific_cam(data["features"], prototypes), data[is_cam], rtol=0, atol=1e-4)


def test_is_cam_does_not_depend_on_the_scale_of_features():
    features, seeds = example()
    prototypes = class_prototypes(features, seeds)
    expected = image_specific_cam(features, prototypes)
    scale = torch.logspace(-3, 3, 20, dtype=torch.float64).view(1, 1, 4, 5)
    torch.testing.assert_close(image_specific_cam(features * scale, prototypes), expected)
    torch.testing.assert_close(image_specific_cam(1e3 * features, class_prototypes(1e3 * features, seeds)), expected)


def test_gradients():
    features, seeds = example()
    features.requires_grad_()
    assert torch.autograd.gradcheck(lambda f: class_prototypes(f, seeds), features)
    prototypes = torch.randn(2, 4, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(image_specific_cam, (features, prototypes))
    assert torch.autograd.gradcheck(lambda f: image_specific_cam(f, class_prototypes(f, seeds)), features)


def test_absent_prototype_has_finite_gradients():
    features, seeds = example()
    features.requires_grad_()
    image_specific_cam(features, class_prototypes(features, seeds)).sum().backward()
    assert features.grad.isfinite().all() and features.grad.abs().sum() > 0
