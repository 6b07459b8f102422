import numpy as np
import pytest
from pydensecrf.densecrf import DenseCRF2D
from pydensecrf.utils import unary_from_softmax

from module.crf import dense_crf_label_maps, dense_crf_labels, dense_crf_probabilities


def mean_field(image, unary, gaussian, bilateral, iterations):
    """Mean-field inference by dense kernels: what pydensecrf approximates on a permutohedral lattice.

    Kernels are normalised symmetrically by their sums over the image. unary [K,H,W]; returns marginals [K,H,W].
    """
    place = np.stack(np.mgrid[: image.shape[0], : image.shape[1]], -1).reshape(-1, 2).astype(float)
    colour = image.reshape(-1, 3).astype(float)
    message = np.zeros((len(place), len(place)))
    for features, compat in (
        (place / gaussian[0], gaussian[1]),
        (np.hstack([place / bilateral[0], colour / bilateral[1]]), bilateral[2]),
    ):
        kernel = np.exp(-0.5 * np.square(features[:, None] - features[None]).sum(-1))
        scale = 1 / np.sqrt(kernel.sum(1))
        message += compat * scale[:, None] * kernel * scale
    energy = unary.reshape(len(unary), -1)
    marginals = softmax(-energy)
    for _ in range(iterations):
        marginals = softmax(marginals @ message - energy)
    return marginals.reshape(unary.shape)


def softmax(logits):
    weights = np.exp(logits - logits.max(0))
    return weights / weights.sum(0)


@pytest.fixture
def scene():
    """A smooth two-coloured image [24,31,3], its regions [24,31] of labels 0 and 2, and the labels with noise."""
    generator = np.random.default_rng(0)
    rows, columns = np.mgrid[:24, :31]
    regions = np.where((rows - 12) ** 2 + (columns - 14) ** 2 < 64, 2, 0)
    image = np.where(regions[..., None] == 2, (200, 90, 60), (40, 120, 180)) + generator.integers(-6, 7, (24, 31, 3))
    noisy = np.where(generator.random(regions.shape) < 0.2, generator.integers(0, 3, regions.shape), regions)
    return image.astype(np.uint8), regions, noisy


def test_labels_follow_the_image(scene):
    image, regions, noisy = scene
    refined = dense_crf_labels(image, noisy, 3)
    assert refined.shape == noisy.shape and np.issubdtype(refined.dtype, np.integer)
    assert (refined == regions).mean() > 0.99 > (noisy == regions).mean()


def test_labels_near_dense_mean_field(scene):
    image, _, noisy = scene
    energy = np.where(noisy == np.arange(3)[:, None, None], -np.log(0.7), -np.log(0.15))
    expected = mean_field(image, energy, (3, 3), (50, 5, 10), 10).argmax(0)
    assert (dense_crf_labels(image, noisy, 3) == expected).mean() > 0.97


def test_several_label_maps_of_an_image_are_refined_as_each_by_itself(scene):
    image, regions, noisy = scene
    maps = [noisy, regions, np.zeros_like(noisy), noisy]
    found = dense_crf_label_maps(image, maps, 3)
    assert len(found) == 4
    for labels, refined in zip(maps, found):
        np.testing.assert_array_equal(refined, dense_crf_labels(image, labels, 3))
    with pytest.raises(ValueError, match="0 to 2"):
        dense_crf_label_maps(image, [noisy, noisy + 1], 3)


def test_labels_equal_published(reference):
    data = reference("crf.npz")
    refined = dense_crf_labels(data["image"], data["labels"], int(data["n_labels"]))
    (of_maps,) = dense_crf_label_maps(data["image"], [data["labels"]], int(data["n_labels"]))
    assert (refined != data["refined"]).mean() < 1e-3 and np.array_equal(of_maps, refined)


def test_one_label_and_types(scene):
    image, _, noisy = scene
    assert (dense_crf_labels(image, np.zeros_like(noisy), 1) == 0).all()
    np.testing.assert_array_equal(
        dense_crf_labels(image, noisy.astype(np.uint8), 3), dense_crf_labels(image[::-1][::-1], noisy, 3)
    )


def test_probabilities_near_dense_mean_field(scene):
    image, _, noisy = scene
    probabilities = softmax(2.0 * (noisy == np.arange(3)[:, None, None]))
    refined = dense_crf_probabilities(image, probabilities)
    assert refined.shape == probabilities.shape and refined.min() >= 0
    np.testing.assert_allclose(refined.sum(0), 1, atol=1e-5)
    expected = mean_field(image, -np.log(probabilities), (1, 3), (67, 3, 4), 10)
    assert np.abs(refined - expected).mean() < 0.05


def test_probabilities_have_the_published_terms(scene):
    """Gaussian and bilateral, 10 iterations: so near to other ones that dense mean field tells little."""
    image, _, noisy = scene
    probabilities = softmax(2.0 * (noisy == np.arange(3)[:, None, None])).astype(np.float32)
    crf = DenseCRF2D(31, 24, 3)
    crf.setUnaryEnergy(unary_from_softmax(probabilities))
    crf.addPairwiseGaussian(sxy=1, compat=3)
    crf.addPairwiseBilateral(sxy=67, srgb=3, rgbim=image, compat=4)
    expected = np.array(crf.inference(10)).reshape(3, 24, 31)
    np.testing.assert_allclose(dense_crf_probabilities(image, probabilities), expected, rtol=0, atol=1e-6)


def test_certain_probabilities_stay_finite(scene):
    image, regions, _ = scene
    refined = dense_crf_probabilities(image, (regions == np.arange(3)[:, None, None]).astype(np.float64))
    assert np.isfinite(refined).all() and (refined.argmax(0) == regions).mean() > 0.99


def test_refuses_what_does_not_fit(scene):
    image, _, noisy = scene
    with pytest.raises(ValueError, match="uint8"):
        dense_crf_labels(image / 255, noisy, 3)
    with pytest.raises(ValueError, match=r"\[24,30,3\]"):
        dense_crf_labels(image, noisy[:, :-1], 3)
    with pytest.raises(ValueError, match="0 to 1"):
        dense_crf_labels(image, noisy, 2)
