"""What holds of every label map, the random walk, the CRF and IRN's loss, whatever they are made from."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scenes import CONTENTS, DTYPES, MAPS, SEEDS, SIDES, fill

from module.crf import dense_crf_labels, dense_crf_probabilities
from module.irn_loss import affinity_displacement_loss, irn_loss
from module.labels import ir_labels, labels_at_size, weighted_argmax
from module.random_walk import propagate
from tool.metric import label_confusion_matrix, scores


def dense_affinity(boundary, radius):
    """[HW,HW], pair by pair: 1 - the maximum of the boundary over the pixels nearer than 1 to the segment."""
    height, width = boundary.shape
    pixels = [(y, x) for y in range(height) for x in range(width)]
    affinity = np.eye(len(pixels))
    for i, (y0, x0) in enumerate(pixels):
        for j, (y1, x1) in enumerate(pixels[:i]):
            length = np.hypot(y1 - y0, x1 - x0)
            if length < radius:
                path = [
                    boundary[y, x]
                    for y in range(min(y0, y1), max(y0, y1) + 1)
                    for x in range(min(x0, x1), max(x0, x1) + 1)
                    if abs((y1 - y0) * (x - x0) - (x1 - x0) * (y - y0)) < length
                ]
                affinity[i, j] = affinity[j, i] = 1 - max(path)
    return affinity


@pytest.mark.parametrize("beta", [0, 0.5, 1, 10, 1e4])
@given(
    SEEDS, DTYPES, MAPS, MAPS, st.integers(1, 6), st.integers(1, 7), st.integers(2, 5), st.sampled_from([256, 7, 1, 0])
)
@settings(max_examples=20)
def test_the_random_walk_keeps_bounds_and_weighted_mass(
    beta, seed, dtype, score_kind, boundary_kind, h, w, radius, steps
):
    """T = A D^-1 of a symmetric A = a^beta and its column sums d, D = diag(d): the columns of T sum to 1, so x T
    averages (bounds, sign and constants stay), and x T d = x A 1 = x d: the mass that is kept is that weighted by d,
    not the plain one."""
    generator = torch.Generator().manual_seed(seed)
    start_scores = fill(score_kind, (2, h, w), generator, dtype).abs()
    boundary = fill(boundary_kind, (h, w), generator, dtype).abs()
    walked = propagate(start_scores, boundary, radius, beta, steps)
    start = start_scores * (1 - boundary)
    assert walked.isfinite().all() and walked.dtype == dtype and walked.min() >= 0
    assert (walked <= start.amax(dim=(1, 2), keepdim=True)).all()
    assert (walked >= start.amin(dim=(1, 2), keepdim=True)).all()

    affinity = dense_affinity(boundary.double().numpy(), radius)
    weights = np.where(affinity > 0, affinity, 1) ** beta * (affinity > 0)  # no way leads through 0, whatever its power
    degree = weights.sum(axis=0)
    before, after = (maps.double().numpy().reshape(2, -1) @ degree for maps in (start, walked))
    np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-7 * degree.sum())

    constant = torch.full_like(start_scores, 0.7)
    torch.testing.assert_close(
        propagate(constant, torch.zeros_like(boundary), radius, beta, steps), constant, rtol=0, atol=1e-6
    )


@given(SEEDS, st.integers(1, 8), st.integers(1, 9), st.integers(1, 255), st.floats(0, 0.5), st.integers(0, 8))
@example(0, 8, 9, 255, 0.1, 4)
def test_confusion_matrices_add(seed, h, w, n_classes, unsure, cut):
    generator = np.random.default_rng(seed)

    def label_map():
        return np.where(generator.random((h, w)) < unsure, 255, generator.integers(n_classes, size=(h, w)))

    truth, labels = label_map().astype(np.uint8), label_map()
    whole = label_confusion_matrix(truth, labels, n_classes)
    parts = [label_confusion_matrix(truth[rows], labels[rows], n_classes) for rows in (slice(cut), slice(cut, None))]
    assert np.array_equal(whole, parts[0] + parts[1])
    assert whole.sum() == (truth != 255).sum()
    assert whole[:, -1].sum() == ((truth != 255) & (labels == 255)).sum()
    assert np.array_equal(whole.sum(axis=1), np.bincount(truth[truth != 255], minlength=n_classes)[:n_classes])
    result = scores(whole, [str(k) for k in range(n_classes)])
    assert 0 <= result["miou"] <= 1 and 0 <= result["accuracy"] <= 1
    perfect = scores(label_confusion_matrix(truth, truth, n_classes), [str(k) for k in range(n_classes)])
    assert perfect["miou"] == perfect["accuracy"] == float((truth != 255).any())


@st.composite
def image_keys(draw):
    """The classes of an image, background first, as in a CAM archive."""
    return np.array([0, *sorted(draw(st.sets(st.integers(1, 254), max_size=6)))])


@given(image_keys(), SEEDS, MAPS, SIDES, SIDES, st.sampled_from([0.0, 0.8, 1.0, 3.0]))
@settings(max_examples=60)
def test_labels_are_keys_of_the_image(keys, seed, kind, h, w, weight):
    generator = torch.Generator().manual_seed(seed)
    cam = fill(kind, (len(keys), h, w), generator, torch.float32).abs().numpy()
    labels = weighted_argmax(cam, weight)
    assert labels.shape == (h, w) and labels.min() >= 0 and labels.max() < len(keys)
    winner = np.take_along_axis(cam, labels[None], axis=0)[0]
    assert (np.where(labels == 0, weight, 1) * winner >= cam[1:].max(axis=0, initial=0)).all()

    ir = ir_labels(keys[weighted_argmax(cam)], keys[weighted_argmax(cam, weight)])
    assert set(np.unique(ir)) <= {*keys, 255}
    assert set(np.unique(ir[ir != 255])) <= set(np.unique(keys[weighted_argmax(cam)]))

    size = (2 * h + 1, 3 * w)
    in_strips = labels_at_size(cam, size, weight, max_elements=len(keys) * size[1] * 2)
    assert in_strips.shape == size and in_strips.max() < len(keys)
    assert np.array_equal(in_strips, labels_at_size(cam, size, weight))
    assert np.array_equal(labels_at_size(cam, (h, w), weight), labels)


@given(SEEDS, MAPS, SIDES, SIDES, st.integers(1, 4) | st.just(255), st.integers(0, 3), st.floats(0.05, 0.95))
@settings(max_examples=25)
def test_the_crf_stays_within_its_labels(seed, kind, h, w, n_labels, iterations, gt_prob):
    generator = torch.Generator().manual_seed(seed)
    image = (255 * fill(kind, (h, w, 3), generator, torch.float32).abs()).to(torch.uint8).numpy()
    cam = fill(kind, (n_labels, h, w), generator, torch.float32).abs().numpy()
    refined = dense_crf_labels(image, weighted_argmax(cam), n_labels, gt_prob, iterations)
    assert refined.shape == (h, w) and refined.min() >= 0 and refined.max() < n_labels
    one = np.full((h, w), n_labels - 1)
    if n_labels == 1 or gt_prob > 1 / n_labels:
        assert np.array_equal(dense_crf_labels(image, one, n_labels, gt_prob, iterations), one)

    probabilities = dense_crf_probabilities(image, F.softmax(100 * torch.from_numpy(cam), dim=0).numpy(), iterations)
    assert np.isfinite(probabilities).all() and probabilities.min() >= 0
    np.testing.assert_allclose(probabilities.sum(axis=0), 1, atol=1e-5)


@given(
    SEEDS,
    DTYPES,
    MAPS,
    CONTENTS,
    st.integers(1, 5),
    st.integers(1, 6),
    st.integers(1, 7),
    st.sampled_from([0, 1, 254]),
    st.floats(0, 1),
)
@settings(max_examples=60)
def test_irn_losses_are_finite_and_never_negative(seed, dtype, boundary_kind, kind, radius, h, w, top, unsure):
    generator = torch.Generator().manual_seed(seed)
    boundary = fill(boundary_kind, (2, 1, h, w), generator, dtype).abs().requires_grad_()
    displacement = fill(kind, (2, 2, h, w), generator, dtype).requires_grad_()
    labels = torch.randint(0, top + 1, (2, h, w), generator=generator)
    labels[torch.rand(2, h, w, generator=generator) < unsure] = 255
    if radius == 1 or h < radius or w < 2 * radius - 1:
        with pytest.raises(ValueError, match="radius"):
            affinity_displacement_loss(boundary, displacement, labels, radius)
        return
    terms = affinity_displacement_loss(boundary, displacement, labels, radius)
    assert all(value.isfinite() and value >= -1e-4 for value in terms.values())
    irn_loss(terms).backward()
    assert boundary.grad.isfinite().all() and displacement.grad.isfinite().all()
