import numpy as np
import pytest
import torch
from PIL import Image

from bench import plain
from module import affinity, irn_loss, pamr, prototype, random_walk, structure
from tool import cam_file

PRECISIONS = [(torch.float32, 1e-5), (torch.float64, 1e-10)]


def example(dtype):
    """Two images of 5 classes on a 6x7 grid: one has background, 1 and 3, the other background, 2 and 4 and padding."""
    generator = torch.Generator().manual_seed(0)
    valid = torch.zeros(2, 5, 6, 7, dtype=dtype)
    valid[0, [0, 1, 3]] = 1
    valid[1, [0, 2, 4], 1:, :5] = 1
    return {
        "features": torch.randn(2, 8, 6, 7, generator=generator, dtype=dtype),
        "cam": torch.rand(2, 5, 6, 7, generator=generator, dtype=dtype) * valid,
        "image": torch.rand(2, 3, 60, 76, generator=generator, dtype=dtype),
        "valid": valid,
    }


def assert_near(actual, expected, tolerance):
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance)


def assert_same_gradients(function, expected, inputs, tolerance):
    """Of the sums of their outputs, each weighted at random, with respect to all inputs."""
    gradients = []
    for one in (function, expected):
        leaves = [values.clone().requires_grad_() for values in inputs]
        outputs = one(*leaves)
        generator = torch.Generator().manual_seed(1)
        weighted = [(output * torch.rand(output.shape, generator=generator)).sum() for output in outputs]
        gradients.append(torch.autograd.grad(sum(weighted), leaves))
    for actual, wanted in zip(*gradients):
        assert wanted.abs().max() > 0
        torch.testing.assert_close(actual, wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("background_weight", [0.5, 1, 3])
def test_structure_seeds(dtype, background_weight):
    batch = example(dtype)
    arguments = batch["features"], batch["cam"], batch["valid"], background_weight
    seeds = plain.structure_seeds(*arguments)
    assert torch.equal(seeds, structure.structure_seeds(*arguments)) and seeds.dtype == dtype
    unmasked = batch["features"], torch.ones_like(batch["cam"]), batch["valid"], background_weight
    assert torch.equal(plain.structure_seeds(*unmasked), structure.structure_seeds(*unmasked))


@pytest.mark.parametrize("dtype, tolerance", PRECISIONS)
def test_prototypes_and_is_cam(dtype, tolerance):
    batch = example(dtype)
    features, seeds = batch["features"], structure.structure_seeds(batch["features"], batch["cam"], batch["valid"])
    prototypes = prototype.class_prototypes(features, seeds)
    assert (prototypes == 0).all(dim=2).any()
    assert_near(plain.class_prototypes(features, seeds), prototypes, tolerance)
    drawn = prototype.image_specific_cam(features, prototypes)
    assert_near(plain.image_specific_cam(features, prototypes), drawn, tolerance)

    def redraw(one):
        return lambda features: [one.image_specific_cam(features, one.class_prototypes(features, seeds))]

    assert_same_gradients(redraw(plain), redraw(prototype), [features], tolerance)


@pytest.mark.parametrize("dtype, tolerance", PRECISIONS)
@pytest.mark.parametrize("options", [{}, {"iterations": 1}, {"iterations": 3, "dilations": (2, 5)}])
def test_pamr(dtype, tolerance, options):
    batch = example(dtype)
    refined = plain.PAMR(**options)(batch["image"], batch["cam"])
    assert_near(refined, pamr.PAMR(**options)(batch["image"], batch["cam"]), tolerance)


def test_pamr_weights():
    image = example(torch.float64)["image"]
    assert_near(plain.PAMR().affinity(image)[:, 0], torch.cat(list(pamr.PAMR().affinity(image)), dim=1), 1e-10)


@pytest.mark.parametrize("dtype, tolerance", PRECISIONS)
@pytest.mark.parametrize("normalization", ["minmax", "max", "none"])
@pytest.mark.parametrize("image_stride", [4, 8])
def test_affinity_enhanced_cam(dtype, tolerance, normalization, image_stride):
    batch = example(dtype)

    def enhance(one, pamr):
        def run(features):
            return one.affinity_enhanced_cam(
                features, batch["cam"], batch["image"], batch["valid"], pamr, normalization, image_stride
            )

        return run

    enhanced = enhance(plain, plain.PAMR()), enhance(affinity, pamr.PAMR())
    (cam, seeds), (expected_cam, expected_seeds) = (run(batch["features"]) for run in enhanced)
    assert torch.equal(seeds, expected_seeds)
    assert_near(cam, expected_cam, tolerance)
    assert_same_gradients(
        *(lambda features, run=run: run(features)[:1] for run in enhanced), [batch["features"]], 10 * tolerance
    )


@pytest.mark.parametrize("height, width", [(9, 7), (12, 15), (2, 13), (1, 6)])
@pytest.mark.parametrize("radius, beta, steps", [(5, 10, 256), (3, 4, 8), (2, 1, 1)])
def test_propagate(height, width, radius, beta, steps):
    generator = torch.Generator().manual_seed(height)
    scores = torch.rand(3, height, width, generator=generator)
    boundary = torch.rand(height, width, generator=generator).square()
    walked = plain.propagate(scores, boundary, radius, beta, steps)
    assert_near(walked, random_walk.propagate(scores, boundary, radius, beta, steps), 1e-4)
    exact = plain.propagate(scores.double(), boundary.double(), radius, beta, steps)
    assert exact.dtype == torch.float64
    assert_near(exact, random_walk.propagate(scores.double(), boundary.double(), radius, beta, steps), 1e-8)
    assert (walked - scores * (1 - boundary)).abs().max() > 0.1


@pytest.mark.parametrize("steps", [0, 3, 100])
def test_squaring_refuses_steps_that_are_no_power_of_two(steps):
    with pytest.raises(ValueError, match=f"{steps} steps"):
        plain.propagate(torch.zeros(1, 4, 4), torch.zeros(4, 4), steps=steps)


def fields(dtype, height, width):
    """boundary, displacement and labels of two images, all kinds of pairs and pixels that are in none."""
    generator = torch.Generator().manual_seed(height)
    boundary = torch.rand(2, 1, height, width, generator=generator, dtype=dtype)
    displacement = 3 * torch.randn(2, 2, height, width, generator=generator, dtype=dtype)
    values = torch.tensor([0, 0, 0, 4, 4, 20, 255])
    coarse = values[torch.randint(len(values), (2, height // 2 + 1, width // 2 + 1), generator=generator)]
    return boundary, displacement, coarse.repeat_interleave(2, 1).repeat_interleave(2, 2)[:, :height, :width]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("height, width, radius", [(9, 11, 4), (7, 13, 5), (8, 7, 2), (14, 23, 10)])
def test_affinity_displacement_loss(dtype, height, width, radius):
    boundary, displacement, labels = fields(dtype, height, width)
    terms = plain.affinity_displacement_loss(boundary, displacement, labels, radius)
    expected = irn_loss.affinity_displacement_loss(boundary, displacement, labels, radius)
    assert list(terms) == list(expected)
    for name, value in expected.items():
        assert value > 0
        assert_near(terms[name], value, 1e-5)

    def losses(one):
        return lambda *maps: list(one.affinity_displacement_loss(*maps, labels, radius).values())

    assert_same_gradients(losses(plain), losses(irn_loss), [boundary, displacement], 1e-5)


def test_loss_without_pairs_is_zero():
    boundary, displacement, labels = fields(torch.float32, 7, 9)
    terms = plain.affinity_displacement_loss(boundary, displacement, torch.full_like(labels, 255), 4)
    assert all(term == 0 for term in terms.values())


def test_plain_maps_equal_published(reference):
    data = {name: torch.tensor(values) for name, values in reference("aesipe.npz").items()}
    # The published maps of AE are without padding: the labels alone say what is valid.
    valid = data["valid"].amax(dim=(2, 3), keepdim=True).expand_as(data["valid"])
    seeds = plain.structure_seeds(data["features"], data["norm_cam"] * valid, valid)
    assert torch.equal(seeds, data["unpadded_seeds"].float())
    is_cam = plain.image_specific_cam(data["features"], plain.class_prototypes(data["features"], seeds))
    assert_near(is_cam, data["unpadded_is_cam"], 1e-5)
    cam, seeds = plain.affinity_enhanced_cam(data["features"], is_cam, data["image"] / 255, valid, plain.PAMR(), "max")
    assert torch.equal(seeds.argmax(1), data["pamr_argmax"].long())
    assert_near(cam, data["ae_is_cam_maxnorm"], 1e-5)


def test_plain_walk_and_loss_equal_published(reference):
    walk = {name: torch.tensor(values).double() for name, values in reference("random_walk.npz").items()}
    # The published values are float32's, 3.2e-5 from the exact ones; float32 here is another 3.3e-5, by machine.
    assert_near(plain.propagate(walk["scores"], walk["edge"]), walk["propagated"], 4e-5)
    data = {name: torch.tensor(values) for name, values in reference("irn_loss.npz").items()}
    terms = plain.affinity_displacement_loss(data["edge"], data["displacement"], data["seg"], int(data["radius"]))
    for name, value in terms.items():
        assert_near(value.double(), data[name], 1e-5)


def picture(folder, height, width):
    """A PNG of random pixels, and the image that the encoder is to see of it, [3,H,W]."""
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "image.png")
    mean, std = (torch.tensor(values, dtype=torch.float64)[:, None, None] for values in (plain.MEAN, plain.STD))
    return folder / "image.png", ((torch.from_numpy(pixels).permute(2, 0, 1) / 255 - mean) / std).float()


def test_loaded_sample_is_the_normalised_image_or_its_mirror(tmp_path):
    path, expected = picture(tmp_path, 24, 24)
    mirrored = []
    for seed in range(8):
        sample = plain.load_sample(path, (24, 24), 24, np.random.default_rng(seed))
        assert sample.dtype == torch.float32 and sample.is_contiguous()
        mirrored.append(not torch.allclose(sample, expected, atol=1e-6))
        assert_near(sample, expected.flip(2) if mirrored[-1] else expected, 1e-6)
    assert 0 < sum(mirrored) < 8


@pytest.mark.parametrize("long_side, rows, columns", [(16, 8, 16), (24, 12, 20), (64, 20, 20)])
def test_loaded_sample_shows_what_fits_its_crop(tmp_path, long_side, rows, columns):
    path, _ = picture(tmp_path, 12, 24)
    for seed in range(8):
        sample = plain.load_sample(path, (long_side, long_side), 20, np.random.default_rng(seed))
        shown = (sample != 0).any(dim=0).nonzero()
        assert sample.shape == (3, 20, 20)
        assert (shown.amax(0) - shown.amin(0) + 1).tolist() == [rows, columns] and len(shown) == rows * columns


def test_saved_cams_are_read_as_those_of_the_product(tmp_path):
    cam = np.random.default_rng(0).random((3, 11, 7), dtype=np.float32)
    plain.save_cam(tmp_path / "plain.npz", [0, 4, 7], cam)
    cam_file.save_cam(tmp_path / "product.npz", [0, 4, 7], cam)
    keys, read = cam_file.load_cam(tmp_path / "plain.npz")
    product_keys, product_read = cam_file.load_cam(tmp_path / "product.npz")
    assert keys.tolist() == product_keys.tolist() and np.array_equal(read, cam)
    assert np.abs(read - product_read).max() <= 2**-11
    assert (tmp_path / "plain.npz").stat().st_size > cam.nbytes
