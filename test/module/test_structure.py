import numpy as np
import pytest
import torch

from module.structure import structure_seeds


def looped_seeds(features, cam, valid, background_weight):
    """Seeds by the definition: S, the soft IoU with every class, and the argmax, position by position."""
    n, classes, h, w = cam.shape
    seeds = np.zeros(cam.shape)
    for image in range(n):
        positions = [features[image, :, y, x] for y, x in np.ndindex(h, w)]
        for i, (y, x) in enumerate(np.ndindex(h, w)):
            norms = [np.linalg.norm(positions[i]) * np.linalg.norm(other) for other in positions]
            similarity = np.array([max(0, positions[i] @ other / norm) for other, norm in zip(positions, norms)])
            scores = []
            for k in range(classes):
                mask = cam[image, k].reshape(-1)
                shared = (similarity * mask).sum()
                scores.append(shared / (similarity.sum() + mask.sum() - shared))
            scores[0] *= background_weight
            winner = int(np.argmax(scores))
            seeds[image, winner, y, x] = valid[image, winner, y, x]
    return seeds


def example(dtype=torch.float64):
    """features [6,6,4,5], cam and valid [6,4,4,5]; the second image lacks class 2 and has padding."""
    generator = torch.Generator().manual_seed(0)
    valid = torch.ones(6, 4, 4, 5, dtype=dtype)
    valid[1, 2] = 0
    valid[1, :, 3:] = 0
    valid[1, :, :, 0] = 0
    features = torch.randn(6, 6, 4, 5, generator=generator, dtype=dtype)
    # Classes of unequal extent, or the denominator of the IoU would hardly matter.
    extent = torch.tensor([2, 0.5, 1, 3], dtype=dtype).view(4, 1, 1)
    return features, torch.rand(6, 4, 4, 5, generator=generator, dtype=dtype) ** extent * valid, valid


@pytest.mark.parametrize("background_weight", [0.5, 1, 3])
def test_equals_loops(background_weight):
    features, cam, valid = example()
    seeds = structure_seeds(features, cam, valid, background_weight)
    expected = looped_seeds(features.numpy(), cam.numpy(), valid.numpy(), background_weight)
    np.testing.assert_array_equal(seeds, expected)


def test_background_weight_moves_seeds_to_and_from_the_background():
    shares = [structure_seeds(*example(), weight)[:, 0].sum() for weight in (0.5, 1, 3)]
    assert shares[0] < shares[1] < shares[2]


@pytest.mark.parametrize("padded", [True, False])
def test_equals_published(reference, padded):
    data = {name: torch.tensor(values) for name, values in reference("aesipe.npz").items()}
    valid = data["valid"] if padded else data["valid"].amax(dim=(2, 3), keepdim=True).expand_as(data["valid"])
    seeds = structure_seeds(data["features"], data["norm_cam"] * valid, valid)
    np.testing.assert_array_equal(seeds, data["seeds" if padded else "unpadded_seeds"])


# 20 positions in 6 images: blocks of 1 row, of 3 rows with a remainder, of 4 rows, and one of all.
@pytest.mark.parametrize("max_elements", [1, 360, 480, 2400])
def test_blocks_do_not_change_the_seeds(max_elements):
    assert torch.equal(structure_seeds(*example(), max_elements=max_elements), structure_seeds(*example()))


def test_seeds_are_one_hot_within_the_own_classes_and_never_on_padding():
    features, cam, valid = example(torch.float32)
    seeds = structure_seeds(features, cam, valid)
    assert ((seeds == 0) | (seeds == 1)).all() and (seeds[valid == 0] == 0).all()
    assert torch.equal(seeds.sum(1), valid[:, 0])  # exactly one at every position inside


def test_scale_of_the_features_does_not_matter():
    features, cam, valid = example()
    scale = torch.linspace(0.1, 10, 20, dtype=torch.float64).view(1, 1, 4, 5)
    assert torch.equal(structure_seeds(features * scale, cam, valid), structure_seeds(features, cam, valid))


def test_without_any_cam_or_features_the_inside_is_background():
    features, cam, valid = example()
    for seeds in (structure_seeds(features, 0 * cam, valid), structure_seeds(0 * features, cam, valid)):
        assert torch.equal(seeds[:, 0], valid[:, 0]) and (seeds[:, 1:] == 0).all()


def test_no_gradient_is_kept():
    features, cam, valid = example()
    assert not structure_seeds(features.requires_grad_(), cam.requires_grad_(), valid).requires_grad


def test_a_cam_that_is_not_masked_gives_the_same_seeds():
    generator = torch.Generator().manual_seed(3)
    features, cam = torch.randn(2, 6, 5, 7, generator=generator), torch.rand(2, 4, 5, 7, generator=generator)
    valid = torch.tensor([[1.0, 0, 1, 0], [1, 1, 0, 1]])[:, :, None, None].expand_as(cam)
    seeds = structure_seeds(features, cam, valid)
    assert torch.equal(seeds, structure_seeds(features, cam * valid, valid))
    assert (seeds.sum(dim=1) == 1).all()  # absent classes won no position, so none lost its seed
