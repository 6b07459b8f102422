import numpy as np
import pytest
import torch

from module.random_walk import propagate


def path(source, destination):
    """Pixels between two pixels, by the definition: in their bounding box, nearer than 1 to the line through both."""
    (y0, x0), (y1, x1) = source, destination
    length = np.hypot(y1 - y0, x1 - x0)
    for y in range(min(y0, y1), max(y0, y1) + 1):
        for x in range(min(x0, x1), max(x0, x1) + 1):
            if abs((y1 - y0) * (x - x0) - (x1 - x0) * (y - y0)) / length < 1:
                yield y, x


def dense_walk(scores, boundary, radius, beta, steps):
    """The walk by a dense matrix, pair by pair in float64."""
    height, width = boundary.shape
    pixels = [(y, x) for y in range(height) for x in range(width)]
    affinity = np.zeros((len(pixels), len(pixels)))
    for i, p in enumerate(pixels):
        for j, q in enumerate(pixels):
            if p == q:
                affinity[i, j] = 1
            elif (p[0] - q[0]) ** 2 + (p[1] - q[1]) ** 2 < radius**2:
                affinity[i, j] = 1 - max(boundary[k] for k in path(p, q))
    transition = affinity**beta / (affinity**beta).sum(axis=0)
    start = (scores * (1 - boundary)).reshape(len(scores), -1)
    return (start @ np.linalg.matrix_power(transition, steps)).reshape(scores.shape)


@pytest.mark.parametrize("height, width", [(9, 7), (2, 13), (1, 6), (11, 3)])
@pytest.mark.parametrize("radius, beta, steps", [(5, 10, 256), (3, 4, 7), (2, 1, 1), (4, 2, 0)])
def test_equals_dense_walk(height, width, radius, beta, steps):
    generator = np.random.default_rng(height + radius)
    scores, boundary = generator.random((3, height, width)), generator.random((height, width)) ** 2
    walked = propagate(torch.tensor(scores), torch.tensor(boundary), radius, beta, steps)
    np.testing.assert_allclose(walked, dense_walk(scores, boundary, radius, beta, steps), rtol=0, atol=2e-8)


def test_equals_published_walk(reference):
    data = reference("random_walk.npz")
    walked = propagate(torch.tensor(data["scores"]), torch.tensor(data["edge"]))
    assert walked.dtype == torch.float32
    np.testing.assert_allclose(walked, data["propagated"], rtol=0, atol=1e-4)


def test_is_linear_in_scores_and_stays_within_their_range():
    torch.manual_seed(0)
    scores, boundary = torch.randn(2, 12, 15), torch.rand(12, 15)
    walked = propagate(scores, boundary)
    torch.testing.assert_close(propagate(-3 * scores, boundary), -3 * walked)
    start = (scores * (1 - boundary)).flatten(1)
    assert (walked.flatten(1).amax(1) <= start.amax(1)).all() and (walked.flatten(1).amin(1) >= start.amin(1)).all()
    assert propagate(scores.abs(), boundary).min() >= 0


def test_constants_stay_without_boundary():
    scores = torch.tensor([0.25, 1.0, 0.0])[:, None, None].expand(3, 10, 14)
    torch.testing.assert_close(propagate(scores, torch.zeros(10, 14)), scores)


def test_no_score_crosses_a_closed_boundary():
    boundary = torch.zeros(10, 15)
    boundary[:, 7] = 1
    scores = torch.zeros(1, 10, 15)
    scores[:, :, :7] = 1
    walked = propagate(scores, boundary)
    torch.testing.assert_close(walked[:, :, :7], torch.ones(1, 10, 7))
    assert (walked[:, :, 7:] == 0).all()


def test_refuses_sizes_that_differ():
    with pytest.raises(ValueError, match=r"\(4, 5\).*\(5, 4\)"):
        propagate(torch.zeros(2, 4, 5), torch.zeros(5, 4))


def test_refuses_a_radius_without_neighbours():
    with pytest.raises(ValueError, match="radius 1"):
        propagate(torch.zeros(2, 4, 5), torch.zeros(4, 5), radius=1)
